"""File <-> scan. DICOM and ITK count LPS; they become RAS+ here and nowhere else."""

from condyle.io.datasets.layouts import is_dataset, open_dataset, write_nnunet, write_splits
from condyle.io.dicom.identity import dropped, patient_of
from condyle.io.exchange import to_nibabel, to_sitk
from condyle.io.listing import Listing, find_scans, list_scans, scans_by_name
from condyle.io.paths import scan_name
from condyle.io.scans import read, read_channels, read_labels, write
from condyle.jobs.outputs import atomic_write, sha256, write_text

__all__ = [
    "dropped",
    "find_scans",
    "Listing",
    "is_dataset",
    "list_scans",
    "open_dataset",
    "patient_of",
    "read",
    "read_channels",
    "read_labels",
    "scan_name",
    "scans_by_name",
    "sha256",
    "atomic_write",
    "to_nibabel",
    "to_sitk",
    "write",
    "write_nnunet",
    "write_splits",
    "write_text",
]
