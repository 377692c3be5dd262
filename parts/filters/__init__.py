"""Filters: pictures with anchor points. ``draw`` drew those that lie here."""
