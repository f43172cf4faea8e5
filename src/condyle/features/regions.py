"""The regions of a scan as volumes, and what an encoder makes of each.

A scan is turned to RAS axes, brought to grey values of 0 (air) to 1 by one rule for the whole of
it, and resampled to voxels of one size. A region is what a structure's mask holds; background is
all that lies in none of them. As the knee study has it, a region's volume is the whole scan with
air everywhere else; or it is the box around the region with all that the scan shows there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid, LabelMap, Volume
from condyle.core.lattice import on_grid
from condyle.errors import ConfigError, LabelError, UnknownName
from condyle.features.maps import FeatureMaps
from condyle.prepare.boxes import box_of
from condyle.prepare.fingerprint import looks_like_ct
from condyle.prepare.intensity import finite, sample
from condyle.prepare.resample import resample_image

__all__ = ["BACKGROUND", "MODES", "POOLS", "Mode", "Pool", "Scene", "named", "region_features"]

Mode = Literal["volume", "box"]
Pool = Literal["volume", "region"]
MODES, POOLS = ("volume", "box"), ("volume", "region")

Array = NDArray[np.float32]
Features = dict[str, dict[str, NDArray[np.float64]]]
"""Region -> column of `predict.maps.LAYERS` -> a number for each channel."""

BACKGROUND = "background"
WINDOW = (-1000.0, 2000.0)
"""HU that become 0, which is air, and 1, the densest bone."""
PERCENTILES = (0.5, 99.5)
"""Of scans other than CT: what becomes 0 and 1."""
LEAST = 64
"""Voxels of the working grid that a region needs: one place of an encoder's maps at a quarter."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A scan and its regions, ready for an encoder.

    Parameters
    ----------
    grey : (i, j, k), 0 to 1, RAS axes.
    shares : region -> (i, j, k), how much of each voxel is the region's, 0 to 1.
    grid : of both.
    intensities : what became 0 and 1, and by which rule.
    """

    grey: Array
    shares: dict[str, Array]
    grid: Grid
    intensities: dict[str, Any]

    @classmethod
    def of(
        cls,
        volume: Volume,
        labels: LabelMap,
        regions: Sequence[str] = (),
        *,
        spacing: float = 1.5,
        window: tuple[float, float] | None = None,
        what: str = "the scan and its label map",
    ) -> Scene:
        """The scan's regions.

        Parameters
        ----------
        volume, labels : on one grid.
        regions : names of structures, and 'background'; all of them where none is given.
        spacing : of the working grid, in mm; 0 keeps the scan's own.
        window : what becomes 0 and 1, in the scan's own numbers; else -1000 and 2000 HU for CT,
            and percentiles 0.5 and 99.5 of other scans.
        what : the two, for messages.

        Raises
        ------
        GridMismatch
            If scan and labels are not on one grid.
        LabelError
            If a structure is not in the mask, or too small.
        """
        volume.grid.require_mm("a comparison of regions in 3D")
        labels = on_grid(labels, volume.grid, what)
        names = named(labels, regions, what)
        volume, labels = volume.reoriented(), labels.reoriented()
        grid = volume.grid
        shape = grid.shape_at((spacing,) * 3) if spacing else grid.shape
        grey, intensities = _grey(volume, window, what)
        rest = np.ones(shape, np.float32)
        if labels.scheme.ignore is not None:
            rest -= resample_image(labels.array == labels.scheme.ignore, grid, shape)
        shares: dict[str, Array] = {}
        for name in names:
            if name != BACKGROUND:
                shares[name] = resample_image(labels.mask(name), grid, shape)
                rest -= shares[name]
        if BACKGROUND in names:
            shares[BACKGROUND] = np.maximum(rest, 0)
        for name, share in shares.items():
            if share.sum() < LEAST:
                raise LabelError(
                    f"{name} in {what} is {share.sum():.2g} voxels of {_mm(grid.resized(shape))} "
                    f"mm, and features need {LEAST}: take a smaller `spacing`, or leave it out "
                    "with `regions`"
                )
        grey = resample_image(grey, grid, shape)
        return cls(grey, shares, grid.resized(shape), intensities)

    def with_shares(self, shares: dict[str, Array]) -> Scene:
        """The same scan with other regions."""
        return replace(self, shares=shares)


def named(labels: LabelMap, regions: Sequence[str] = (), what: str = "the label map") -> list[str]:
    """The regions that are asked for, in the scheme's order and background last.

    Raises
    ------
    UnknownName, LabelError, ConfigError
        For a region that the scheme does not know, one that is absent, or fewer than two.
    """
    known = [*labels.scheme.names, BACKGROUND]
    for name in regions:
        if name not in known:
            raise UnknownName("region", name, known)
    names = [name for name in known if name in regions or not regions]
    if len(names) < 2:
        raise ConfigError(f"a comparison needs two regions or more: {', '.join(known)}")
    present = labels.present()
    found = [x.name for x in labels.scheme.labels if x.id in present]
    if absent := [n for n in names if n not in (*found, BACKGROUND)]:
        there = " ".join([*found, BACKGROUND])
        raise LabelError(
            f"there is no {' and no '.join(absent)} in {what}: take what is there, "
            f"`regions` {there}"
        )
    return names


def _grey(
    volume: Volume, window: tuple[float, float] | None, what: str
) -> tuple[Array, dict[str, Any]]:
    """The scan from 0 to 1 by one rule, and the rule."""
    array = finite(volume.array, what)
    rule = "window"
    if window is None and looks_like_ct(volume):
        rule, window = "CT", WINDOW
    if window is None:
        low, high = (float(x) for x in np.percentile(sample(array), PERCENTILES))
        rule = f"percentiles {PERCENTILES[0]:g} and {PERCENTILES[1]:g}"
    else:
        low, high = window
    if not high > low:
        raise ConfigError(
            f"{what}: all voxels have one intensity ({low:g}): give `window` LOW HIGH"
        )
    grey = (array.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(grey, 0, 1), {"rule": rule, "air": low, "one": high}


def region_features(
    maps: FeatureMaps, scene: Scene, mode: Mode = "volume", pool: Pool = "volume"
) -> Features:
    """The features of each region of a scan.

    Parameters
    ----------
    mode : 'volume', the region in air; or 'box', the box around it as the scan shows it.
    pool : average over the 'volume', or over the 'region': each place counts by its share.
    """
    if mode not in MODES:
        raise UnknownName("mode", mode, MODES)
    if pool not in POOLS:
        raise UnknownName("pool", pool, POOLS)
    found: Features = {}
    for name, share in scene.shares.items():
        if mode == "volume":
            seen = scene.grey * share
        else:
            box = box_of(share)
            assert box is not None  # `Scene.of` refuses a region without voxels
            seen, share = scene.grey[box], share[box]
        weights = share if pool == "region" else np.ones_like(share)
        made = maps(_filled(seen, maps.multiple))
        weights = _filled(weights, maps.multiple)
        found[name] = {column: _pooled(m, weights) for column, m in made.items()}
    return found


def _filled(array: Array, multiple: int) -> Array:
    """The array with air beyond its far ends, up to multiples of a number."""
    return np.pad(array, [(0, -side % multiple) for side in array.shape])


def _pooled(made: NDArray[Any], weights: Array) -> NDArray[np.float64]:
    """The mean of each channel of a map (C, i, j, k), places weighted by voxels (I, J, K)."""
    sides = made.shape[1:]
    blocks = [n for a, b in zip(sides, weights.shape, strict=True) for n in (a, b // a)]
    coarse = weights.reshape(blocks).sum(axis=(1, 3, 5), dtype=np.float64)
    return np.tensordot(made.astype(np.float64), coarse, 3) / coarse.sum()


def _mm(grid: Grid) -> str:
    return " x ".join(f"{x:.3g}" for x in grid.spacing)
