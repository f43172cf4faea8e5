"""How much there is of a structure: volumes compared, whatever their place."""

from __future__ import annotations

from numpy.typing import ArrayLike

from condyle.measure.overlap import Counts, count

__all__ = [
    "absolute_volume_similarity",
    "signed_similarity",
    "volume_error_cm3",
    "volume_similarity",
]


def signed_similarity(counts: Counts) -> float:
    """VS = 1 - (V_truth - V_predicted) / (V_truth + V_predicted), from counts of voxels."""
    whole = counts.truth + counts.predicted
    return 1.0 - (counts.truth - counts.predicted) / whole if whole else float("nan")


def volume_similarity(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Signed volume similarity, 0 to 2: below 1 too little was segmented, above 1 too much.

    VS = 1 - (V_truth - V_predicted) / (V_truth + V_predicted). It knows nothing of place.
    Both empty: nan; only the truth empty: 2; only the prediction empty: 0.

    Parameters
    ----------
    truth, predicted : boolean masks of one shape.

    Examples
    --------
    >>> volume_similarity([True, False, False, False], [True, True, True, False])
    1.5
    """
    return signed_similarity(count(truth, predicted))


def absolute_volume_similarity(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Volume similarity without a sign, 0 to 1: 1 - |V_truth - V_predicted| / (their sum).

    Both empty: nan; one empty: 0.

    References
    ----------
    Taha and Hanbury, Metrics for evaluating 3D medical image segmentation, BMC Medical Imaging
    15:29, 2015.

    Examples
    --------
    >>> absolute_volume_similarity([True, False, False, False], [True, True, True, False])
    0.5
    """
    return 1.0 - abs(1.0 - volume_similarity(truth, predicted))


def volume_error_cm3(truth: ArrayLike, predicted: ArrayLike, voxel_volume_mm3: float) -> float:
    """Predicted less true volume in cm³: negative where too little was segmented.

    An empty mask has volume 0: both empty gives 0.

    Examples
    --------
    >>> volume_error_cm3([True, True], [True, False], voxel_volume_mm3=500)
    -0.5
    """
    counts = count(truth, predicted)
    return (counts.predicted - counts.truth) * voxel_volume_mm3 / 1000.0
