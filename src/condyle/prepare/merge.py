"""Masks of single structures, from 3D Slicer and others, made one label map.

The work is done in `condyle.core.merge`: `condyle.io` merges the layers of a .seg.nrrd and the
masks of a TotalSegmentator folder by the same rules, and may not look into this package.
"""

from condyle.core.merge import (
    Overlap,
    OverlapReport,
    Policy,
    merge,
    scheme_of_names,
    structure_of,
)

__all__ = ["Overlap", "OverlapReport", "Policy", "merge", "scheme_of_names", "structure_of"]
