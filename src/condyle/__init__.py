"""Condyle: segmentations of CT and MRI that can be trusted, from a handful of labelled scans."""

__version__ = "0.1.0.dev0"
