"""Sheets, starters and checks of the exercises."""
