"""DICOM: series, frames, geometry, pixels, segmentation objects, and whom a scan is of."""
