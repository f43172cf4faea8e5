"""Scans and masks into a data set."""
