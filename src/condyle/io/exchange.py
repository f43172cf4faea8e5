"""Scans and label maps in memory, to and from what other libraries hold: nibabel, SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid, LabelMap, Volume
from condyle.errors import ConfigError
from condyle.io.nrrd.image import as_sitk
from condyle.io.safety import LPS_TO_RAS
from condyle.io.scans import read_channels

if TYPE_CHECKING:
    import nibabel
    import SimpleITK

__all__ = ["channels_of", "to_nibabel", "to_sitk"]


def channels_of(scan: Any, grid: Grid | None = None) -> tuple[Volume, ...]:
    """The channels of a scan that is given in any of the ways in which people have it.

    Parameters
    ----------
    scan : a `Volume`; a path; an image of nibabel or SimpleITK; an array (i, j, k) with `grid`; or
        several of these, one a channel.
    grid : where the voxels of an array lie.

    Raises
    ------
    ConfigError
        If it is nothing of these, or an array without a grid.

    Examples
    --------
    >>> channels_of(np.zeros((4, 5, 6)), Grid.regular((4, 5, 6), spacing=(1, 1, 3)))
    (Volume(float64, Grid(4x5x6 voxels, 1x1x3 mm, RAS)),)
    """
    if grid is not None and not isinstance(scan, np.ndarray):
        raise ConfigError("`grid` is for an array: what has a grid of its own needs none")
    if isinstance(scan, Volume):
        return (scan,)
    if isinstance(scan, str | Path):
        return read_channels([scan])
    if isinstance(scan, np.ndarray):
        if grid is None:
            raise ConfigError(
                "an array does not say how large its voxels are: give `grid`, such as "
                "condyle.Grid.regular(array.shape, spacing=(0.5, 0.5, 3.0)) in mm"
            )
        return (Volume(cast(NDArray[Any], scan), grid),)
    if isinstance(scan, tuple | list):
        several = [channels_of(one) for one in cast(Sequence[Any], scan)]
        return tuple(volume for volumes in several for volume in volumes)
    if hasattr(scan, "dataobj") and hasattr(scan, "affine"):
        return _of_nibabel(scan)
    if hasattr(scan, "GetDirection") and hasattr(scan, "GetSpacing"):
        return _of_sitk(scan)
    what = "a label map" if isinstance(scan, LabelMap) else f"a {type(scan).__name__}"
    raise ConfigError(
        f"a scan is wanted, not {what}: give a path, a condyle.Volume, an image of nibabel or "
        "SimpleITK, or an array with its `grid`"
    )


def _of_nibabel(image: Any) -> tuple[Volume, ...]:
    array = np.asarray(image.dataobj)
    if array.ndim not in (3, 4) or image.affine is None:
        raise ConfigError(f"a scan has 3 axes, or 4 with its channels, not {array.ndim}")
    grid = Grid((array.shape[0], array.shape[1], array.shape[2]), np.asarray(image.affine))
    channels = [array] if array.ndim == 3 else list(np.moveaxis(array, 3, 0))
    return tuple(Volume(one, grid) for one in channels)


def _of_sitk(image: Any) -> tuple[Volume, ...]:
    import SimpleITK as sitk

    if image.GetDimension() != 3:
        raise ConfigError(f"a scan has 3 axes, not {image.GetDimension()}")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image)
    channels = [array] if array.ndim == 3 else list(np.moveaxis(array, 3, 0))
    i, j, k = image.GetSize()
    return tuple(Volume(one.T, Grid((i, j, k), LPS_TO_RAS @ affine)) for one in channels)


def to_nibabel(thing: Volume | LabelMap) -> nibabel.Nifti1Image:
    """The image of nibabel with the same numbers at the same places, in RAS+ mm.

    Examples
    --------
    >>> image = to_nibabel(Volume(np.zeros((4, 5, 6), np.int16), Grid.regular((4, 5, 6))))
    >>> image.shape
    (4, 5, 6)
    """
    import nibabel

    image = nibabel.Nifti1Image(thing.array, thing.affine, dtype=thing.array.dtype)
    image.header.set_xyzt_units("mm")
    return image


def to_sitk(thing: Volume | LabelMap) -> SimpleITK.Image:
    """The image of SimpleITK with the same numbers at the same places, in LPS mm.

    Examples
    --------
    >>> grid = Grid.regular((4, 5, 6), spacing=(1, 1, 3))
    >>> to_sitk(Volume(np.zeros((4, 5, 6), np.int16), grid)).GetSpacing()
    (1.0, 1.0, 3.0)
    """
    return as_sitk(thing.array, thing.grid)
