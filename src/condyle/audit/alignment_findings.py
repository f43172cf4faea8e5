"""Masks that do not lie on what they outline: turned round, displaced, or of another scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from condyle.audit.alignment import FLIPS, Alignment, Borders, alignments
from condyle.audit.findings import Finding

__all__ = ["misfits"]

FEWEST = 4
"""Cases from which it can be learned what inside and outside look like."""
CLEAR, STEADY = 0.3, 4.0
"""The usual fit, and how many standard deviations it is, from which masks are checked by it.

Hippocampi: 1.4 and 8.6; phantom bones: 3 and 14; soft-tissue tumours, which look like anything,
0.08 and 1.2: of these nothing can be said.
"""
BETTER = 0.15
"""Of the usual fit: by as much, at least, a flip must fit better than the mask as it is.

In 208 hippocampi flipped left-right the gain was 0.33 and more; none flipped, -0.30 at most.
"""
GOOD = 0.4
"""Of the usual fit: a flip that fits worse than this is no better than the mask as it is."""
POOR = 0.35
"""Of the usual fit: a mask that fits worse is not the scan's. The worst of 208 hippocampi: 0.63."""
VOXEL = 0.75
"""Voxels from the usual displacement that are called one voxel."""
UNUSUAL, CERTAIN = 3.0, 8.0
"""Standard deviations of the displacements in a data set that make a warning and an error.

Of 208 hippocampi this warns of 5 as they came, which a trained classifier of voxels finds displaced
too, and of 82 in 100 that were moved by a voxel (75 to 91, by axis).
"""
DOUBT = 4
"""Cases of which the standard deviation is so unsure that an error takes twice as many of them."""
STEADIEST = 0.1
"""Voxels: no data set's displacements are taken to spread less."""

AXES = ("left-right", "front-back", "head-foot")
TOWARDS = (("left", "right"), ("back", "front"), ("feet", "head"))
"""The names of the two ends of the RAS axes, the positive one last."""


def misfits(cases: Sequence[Borders], structures: int) -> list[Finding]:
    """Findings on masks that fit their scan worse than others do; none of fewer than 4 cases.

    Parameters
    ----------
    cases : of one data set; CT and other scans are held to their own kind.
    structures : how many there are in the data set's scheme.
    """
    findings: list[Finding] = []
    for is_ct in (True, False):
        alike = [case for case in cases if case.is_ct == is_ct]
        if len(alike) >= FEWEST:
            findings += _of_one_kind(alike, structures)
    return findings


def _of_one_kind(cases: Sequence[Borders], structures: int) -> list[Finding]:
    found = alignments(cases, structures)
    heights = np.array([fit.fit for fit in found])
    usual = float(np.median(heights))
    if usual < max(CLEAR, STEADY * 1.4826 * float(np.median(np.abs(heights - usual)))):
        return []
    shifts = np.array([fit.shift for fit in found])
    middle = np.median(shifts, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(shifts - middle), axis=0), STEADIEST)
    certain = CERTAIN * (1 + DOUBT / len(cases))
    findings: list[Finding] = []
    for fit, case in zip(found, cases, strict=True):
        off = np.array(fit.shift) - middle
        findings += (
            _flipped(fit, usual) or _strange(fit, usual) or _shifted(case, off, spread, certain)
        )  # fmt: skip
    return findings


def _flipped(fit: Alignment, usual: float) -> list[Finding]:
    best = int(np.argmax(fit.flips))
    if fit.flips[best] - fit.fit < BETTER * usual or fit.flips[best] < GOOD * usual:
        return []
    axes = [name for name, flip in zip(AXES, FLIPS[best], strict=True) if flip]
    what = f"the mask fits the scan better when flipped {' and '.join(axes)}"
    remedy = "export the mask again; check whether a program flipped it, or its header, in between"
    return [Finding(fit.case, "error", what, remedy, "flip")]


def _strange(fit: Alignment, usual: float) -> list[Finding]:
    if fit.fit >= POOR * usual:
        return []
    part = max(0, round(100 * fit.fit / usual))
    what = (
        f"the mask's borders do not match edges in the scan: they fit {part} % as well as is "
        "usual here"
    )
    remedy = "check whether the mask belongs to another scan, or is far displaced"
    return [Finding(fit.case, "error", what, remedy, "misfit")]


def _shifted(
    case: Borders, off: NDArray[np.float64], spread: NDArray[np.float64], certain: float
) -> list[Finding]:
    """A mask that would fit better a voxel away, by more than the data set's habit explains."""
    ratio = np.where(np.abs(off) >= VOXEL, np.abs(off) / spread, 0)
    if ratio.max() < UNUSUAL:
        return []
    ways = [
        f"about {_voxels(abs(off[axis]))} ({abs(off[axis]) * case.spacing[axis]:.1f} mm) "
        f"too far to the {TOWARDS[axis][int(off[axis] < 0)]}"
        for axis in np.flatnonzero(ratio >= UNUSUAL)
    ]
    severity: Literal["error", "warning"] = "error" if ratio.max() >= certain else "warning"
    what = f"the mask seems to lie {' and '.join(ways)}"
    remedy = "compare mask and scan in a viewer, and move the mask or export it again"
    return [Finding(case.case, severity, what, remedy, "shift")]


def _voxels(length: float) -> str:
    number = max(1, round(length))
    return f"{number} voxel{'s' * (number > 1)}"
