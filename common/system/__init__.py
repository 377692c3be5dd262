"""Errors, files, devices and processes."""
