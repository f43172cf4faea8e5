"""File <-> scan. DICOM and ITK count LPS; they become RAS+ here and nowhere else."""

from condyle.io.datasets.layouts import is_dataset, open_dataset, write_nnunet, write_splits
from condyle.io.dicom.identity import dropped, patient_of
from condyle.io.exchange import to_nibabel, to_sitk
from condyle.io.paths import find_scans, scan_name
from condyle.io.scans import read, read_channels, read_labels, write
from condyle.jobs.outputs import atomic_write, sha256, write_text

__all__ = [
    "dropped",
    "find_scans",
    "is_dataset",
    "open_dataset",
    "patient_of",
    "read",
    "read_channels",
    "read_labels",
    "scan_name",
    "sha256",
    "atomic_write",
    "to_nibabel",
    "to_sitk",
    "write",
    "write_nnunet",
    "write_splits",
    "write_text",
]
