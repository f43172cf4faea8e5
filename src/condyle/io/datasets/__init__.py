"""Folders of labelled scans in the layouts of this field."""
