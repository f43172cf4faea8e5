"""From labelled voxels to closed surfaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from condyle.core import Label, LabelMap
from condyle.errors import ConfigError, LabelError
from condyle.mesh.decimate import decimated
from condyle.mesh.smooth import of_volume, without_stairs
from condyle.mesh.triangles import Floats, Ints, Mesh
from condyle.prepare.boxes import Box, box_of, boxes

__all__ = ["LARGEST_ERROR_MM", "surface", "surfaces"]

BIAS = 1.001
"""The surface lies this much nearer to voxels outside than to those inside. A tie would leave
open how marching cubes cuts a face whose corners are in and out crosswise, and with it holes."""

LARGEST_ERROR_MM = 10.0
"""A surface may be simplified by at most this distance."""


def surface(
    labels: LabelMap, structure: str | int, *, smooth: bool = True, error_mm: float = 0.1
) -> Mesh:
    """The closed surface of one structure, in RAS+ mm.

    Parameters
    ----------
    labels : where the structure is. What touches the scan's border is closed there.
    structure : name or number.
    smooth : take off the voxels' stairs (Taubin's smoothing of a distance field's surface, then
        moved as a whole to enclose the voxels' volume); else the voxels' own marching cubes.
    error_mm : how far the surface may move, in mm, to need fewer triangles; 0 keeps all.

    Raises
    ------
    LabelError
        If the structure is absent.
    UnknownName
        If the scheme has no such structure.
    ConfigError
        If the error is not between 0 and 10 mm.

    References
    ----------
    Lewiner et al., Efficient implementation of marching cubes' cases with topological
    guarantees, J Graphics Tools 8(2), 2003. Taubin, A signal processing approach to fair surface
    design, SIGGRAPH 1995. Garland and Heckbert, Surface simplification using quadric error
    metrics, SIGGRAPH 1997.

    Examples
    --------
    >>> from condyle.core import Grid
    >>> array = np.zeros((40, 40, 40), np.uint8)
    >>> array[10:30, 10:30, 10:30] = 1
    >>> mesh = surface(LabelMap.of(array, Grid.regular(array.shape)), "label_1")
    >>> round(mesh.volume_cm3, 1)
    8.0
    """
    labels.grid.require_mm("a surface")
    label = labels.scheme[structure]
    box = box_of(labels.mask(label.id))
    if box is None:
        raise LabelError(f"there is no {label.name} in the label map: no surface to draw")
    return _surface(labels, label, box, smooth, error_mm)


def surfaces(labels: LabelMap, *, smooth: bool = True, error_mm: float = 0.1) -> list[Mesh]:
    """The closed surfaces of all structures that are there, in the scheme's order, in RAS+ mm.

    Parameters are those of `surface`. Each structure has a closed surface of its own: where two
    touch, both have the wall between them, and may cross there by a part of a voxel.

    Raises
    ------
    LabelError
        If no structure of the scheme is there.
    ConfigError
        If the error is not between 0 and 10 mm.
    """
    labels.grid.require_mm("a surface")
    found = boxes(labels.array)
    there = [label for label in labels.scheme.labels if label.id in found]
    if not there:
        raise LabelError(
            f"the label map holds none of {', '.join(labels.scheme.names)}: no surface to draw"
        )
    return [_surface(labels, label, found[label.id], smooth, error_mm) for label in there]


def _surface(labels: LabelMap, label: Label, box: Box, smooth: bool, error_mm: float) -> Mesh:
    if not 0 <= error_mm <= LARGEST_ERROR_MM:
        raise ConfigError(
            f"error_mm is how far a surface may move, 0 to {LARGEST_ERROR_MM:g} mm, got {error_mm}"
        )
    mask = np.pad(labels.array[box] == label.id, 1)
    grid = labels.grid.cropped([side.start - 1 for side in box], [side.stop + 1 for side in box])
    distances = _distances(mask, grid.spacing) if smooth else np.float32(1)
    field = np.where(mask, BIAS * distances, -distances)
    vertices, faces = _marching_cubes(field)
    volume_mm3 = np.count_nonzero(mask) * grid.voxel_volume
    if smooth:
        vertices = without_stairs(vertices, faces)
    vertices = grid.index_to_world(vertices)
    if np.linalg.det(grid.affine[:3, :3]) < 0:  # mirrored
        faces = np.ascontiguousarray(faces[:, ::-1])
    if smooth:
        vertices = of_volume(vertices, faces, volume_mm3, min(grid.spacing) / 2.0)
    if error_mm:
        vertices, faces = decimated(vertices, faces, error_mm)
    return Mesh(vertices, faces, label.name, label.colour, float(volume_mm3 / 1000.0))


def _distances(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """Distance in mm from each voxel at the mask's edge to the nearest on the other side.

    On thick slices it slopes where a mask has steps. Away from the edge it says nothing.
    """
    inside, beyond = mask.ravel(), 2.0 * max(spacing)
    found = np.full(inside.size, beyond, np.float32)
    for axis in np.argsort(spacing)[::-1]:
        step = int(np.prod(mask.shape[axis + 1 :]))
        turns = np.flatnonzero(inside[step:] != inside[:-step])  # the border is all outside
        found[turns] = found[turns + step] = spacing[axis]
    edge = np.flatnonzero(found < beyond)
    open_ = edge[found[edge] > min(spacing)]  # a diagonal neighbour may be nearer
    for side in (True, False):
        here, there = open_[inside[open_] == side], edge[inside[edge] != side]
        if len(here):
            places = [
                np.transpose(np.unravel_index(at, mask.shape)) * spacing for at in (here, there)
            ]
            tree = KDTree(places[1], balanced_tree=False, compact_nodes=False)
            found[here] = tree.query(places[0])[0]
    return found.reshape(mask.shape)


def _marching_cubes(field: NDArray[np.float32]) -> tuple[Floats, Ints]:
    """Vertices in voxels and triangles, anticlockwise from outside, where a field crosses 0."""
    from skimage.measure import marching_cubes

    found: Any = marching_cubes(field, 0.0, gradient_direction="ascent")
    return found[0].astype(float), found[1].astype(np.int64)
