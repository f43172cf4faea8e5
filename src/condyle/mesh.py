"""Labels to surfaces: closed triangle meshes in the scan's world space, RAS+ millimetres."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import find_objects
from scipy.spatial import KDTree

from condyle.core import Grid, Label, LabelMap
from condyle.errors import ConfigError, LabelError, OutputError, UnknownName
from condyle.io.whole import whole_or_absent

__all__ = ["FORMATS", "Mesh", "surface", "surfaces", "write"]

log = logging.getLogger("condyle")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROUNDS = 20
"""Rounds of smoothing: each pulls vertices in, then lets them out."""
PULL, RELEASE = 0.6, -0.62

BIAS = 1.001
"""The surface lies this much nearer to voxels outside than to those inside. A tie would leave
open how marching cubes cuts a face whose corners are in and out crosswise, and with it holes."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles in RAS+ millimetres.

    Parameters
    ----------
    vertices : (n, 3) points in mm.
    faces : (m, 3) vertex numbers of each triangle, anticlockwise seen from outside.
    name, colour : the structure's.
    voxels_cm3 : volume of the voxels that the surface was made from.
    """

    vertices: Floats
    faces: Ints
    name: str
    colour: tuple[int, int, int]
    voxels_cm3: float

    @property
    def volume_cm3(self) -> float:
        """Volume in cm³ that the surface encloses."""
        a, b, c = self._corners()
        return float((a * np.cross(b, c)).sum() / 6000.0)

    @property
    def area_cm2(self) -> float:
        """Area of the surface in cm²."""
        return float(np.linalg.norm(self.normals, axis=1).sum() / 100.0)

    @property
    def volume_change(self) -> float:
        """Part of the voxels' volume that the surface gained (above 0) or lost (below)."""
        return self.volume_cm3 / self.voxels_cm3 - 1.0

    @property
    def closed(self) -> bool:
        """Whether each edge joins two triangles that face the same way: inside is then defined."""
        n = len(self.vertices)
        start, end = self.faces.ravel(), np.roll(self.faces, -1, axis=1).ravel()
        there, back = np.sort(start * n + end), np.sort(end * n + start)
        return bool(len(there) and (np.diff(there) > 0).all() and (there == back).all())

    def _corners(self) -> tuple[Floats, Floats, Floats]:
        """The triangles' corners in mm, from the middle of the mesh, so that no digits are lost."""
        points = self.vertices - self.vertices.mean(axis=0)
        a, b, c = points[self.faces.T]
        return a, b, c

    @property
    def normals(self) -> Floats:
        """(m, 3) outward normals of the triangles, as long as their areas in mm²."""
        a, b, c = self._corners()
        return np.cross(b - a, c - a) / 2.0

    def __repr__(self) -> str:
        return f"Mesh({self.name}, {len(self.faces)} triangles, {self.volume_cm3:.4g} cm³)"


def surface(
    labels: LabelMap, structure: str | int, *, smooth: bool = True, reduction: float = 0.0
) -> Mesh:
    """The closed surface of one structure, in RAS+ mm.

    Parameters
    ----------
    labels : where the structure is. What touches the scan's border is closed there.
    structure : name or number.
    smooth : take off the voxels' stairs (Taubin's smoothing of a distance field's surface, then
        moved as a whole to enclose the voxels' volume); else the voxels' own marching cubes.
    reduction : part of the triangles to save, 0 to below 1; fewer where that would tear holes.

    Raises
    ------
    LabelError
        If the structure is absent.
    UnknownName
        If the scheme has no such structure.

    References
    ----------
    Lewiner et al., Efficient implementation of marching cubes' cases with topological
    guarantees, J Graphics Tools 8(2), 2003. Taubin, A signal processing approach to fair surface
    design, SIGGRAPH 1995. Garland and Heckbert, Surface simplification using quadric error
    metrics, SIGGRAPH 1997.

    Examples
    --------
    >>> array = np.zeros((40, 40, 40), np.uint8)
    >>> array[10:30, 10:30, 10:30] = 1
    >>> mesh = surface(LabelMap.of(array, Grid.regular(array.shape)), "label_1")
    >>> round(mesh.volume_cm3, 1)
    8.0
    """
    label = labels.scheme[structure]
    box = find_objects(labels.mask(label.id).view(np.uint8), max_label=1)[0]
    if box is None:
        raise LabelError(f"there is no {label.name} in the label map: no surface to draw")
    return _surface(labels, label, box, smooth, reduction)


def surfaces(labels: LabelMap, *, smooth: bool = True, reduction: float = 0.0) -> list[Mesh]:
    """The closed surfaces of all structures that are there, in the scheme's order, in RAS+ mm.

    Parameters are those of `surface`. Neighbours are smoothed each for itself: where they touch,
    their surfaces may cross by a part of a voxel.

    Raises
    ------
    LabelError
        If no structure of the scheme is there.
    """
    boxes = dict(enumerate(find_objects(labels.array), start=1))
    there = [label for label in labels.scheme.labels if boxes.get(label.id) is not None]
    if not there:
        raise LabelError(
            f"the label map holds none of {', '.join(labels.scheme.names)}: no surface to draw"
        )
    return [_surface(labels, label, boxes[label.id], smooth, reduction) for label in there]


def _surface(
    labels: LabelMap, label: Label, box: tuple[slice, ...], smooth: bool, reduction: float
) -> Mesh:
    if not 0 <= reduction < 1:
        raise ConfigError(f"reduction is the part of triangles to save, 0 to 1, got {reduction}")
    mask = np.pad(labels.array[box] == label.id, 1)
    grid = labels.grid.cropped([side.start - 1 for side in box], [side.stop + 1 for side in box])
    field = _distance_field(mask, grid) if smooth else np.where(mask, BIAS, -1.0)
    vertices, faces = _marching_cubes(field)
    if smooth:
        vertices = _without_stairs(vertices, faces)
    voxels_mm3 = np.count_nonzero(mask) * grid.voxel_volume
    mirrored = np.linalg.det(grid.affine[:3, :3]) < 0
    mesh = Mesh(
        grid.index_to_world(vertices),
        faces[:, ::-1] if mirrored else faces,
        label.name,
        label.colour,
        float(voxels_mm3 / 1000.0),
    )
    if reduction:
        mesh = _reduced(mesh, reduction)
    if smooth:
        lacking_mm = (mesh.voxels_cm3 - mesh.volume_cm3) * 10.0 / mesh.area_cm2
        limit = min(grid.spacing) / 2.0
        mesh = _moved(mesh, float(np.clip(lacking_mm, -limit, limit)))
    return mesh


def _distance_field(mask: NDArray[np.bool_], grid: Grid) -> Floats:
    """Distance in mm from each voxel at the mask's edge to the nearest on the other side.

    Above 0 inside, below outside. On thick slices it slopes where a mask has steps.
    """
    edge = np.zeros_like(mask)
    for axis in range(3):
        turns = np.diff(mask, axis=axis)
        before, after = [slice(None)] * 3, [slice(None)] * 3
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= turns
        edge[tuple(after)] |= turns
    field = np.where(mask, 1.0, -1.0) * max(grid.spacing)
    inner, outer = edge & mask, edge & ~mask
    for here, there, sign in ((inner, outer, BIAS), (outer, inner, -1.0)):
        tree = KDTree(np.argwhere(there) * grid.spacing, balanced_tree=False)
        field[here] = sign * np.asarray(tree.query(np.argwhere(here) * grid.spacing)[0])
    return field


def _marching_cubes(field: Floats) -> tuple[Floats, Ints]:
    """Vertices in voxels and triangles, anticlockwise from outside, where a field crosses 0."""
    from skimage.measure import marching_cubes

    found: Any = marching_cubes(field.astype(np.float32), 0.0, gradient_direction="ascent")
    return found[0].astype(float), found[1].astype(np.int64)


def _without_stairs(vertices: Floats, faces: Ints) -> Floats:
    """Vertices moved to the mean of their neighbours and back out, over and over (Taubin)."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    n = len(vertices)
    links: Any = sparse.csr_array((np.ones(len(ends)), ends.T), shape=(n, n))
    count = links.sum(axis=1)[:, None]
    for _ in range(ROUNDS):
        for step in (PULL, RELEASE):
            vertices = vertices + step * (links @ vertices / count - vertices)
    return vertices


def _moved(mesh: Mesh, distance_mm: float) -> Mesh:
    """The mesh with each vertex moved outwards."""
    sums = np.zeros_like(mesh.vertices)
    normals = mesh.normals
    for corner in mesh.faces.T:
        np.add.at(sums, corner, normals)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    steps = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
    return replace(mesh, vertices=mesh.vertices + distance_mm * steps)


def _reduced(mesh: Mesh, reduction: float) -> Mesh:
    """The mesh with fewer triangles, where they change its form least; closed, if it was.

    Saving many triangles can pinch thin places. Then fewer are saved, down to none.
    """
    import fast_simplification

    middle = mesh.vertices.mean(axis=0)
    points = (mesh.vertices - middle).astype(np.float32)
    for part in (1.0, 0.95, 0.9, 0.75, 0.5):
        fewer: Any = fast_simplification.simplify(
            points, mesh.faces.astype(np.int32), reduction * part
        )
        found = replace(
            mesh, vertices=fewer[0].astype(float) + middle, faces=fewer[1].astype(np.int64)
        )
        if found.closed:
            return found
    log.warning(
        "the surface of %s keeps its %d triangles: with fewer it would have holes",
        mesh.name,
        len(mesh.faces),
    )
    return mesh


def write(meshes: Sequence[Mesh], path: Path) -> Path:
    """Write surfaces to one file in the format of its ending, whole or not at all.

    Coordinates are RAS+ millimetres in every format, also in GLB, whose readers may take them
    for metres. PLY, OBJ and GLB hold colours; OBJ and GLB also keep structures apart.

    Raises
    ------
    UnknownName
        If the ending is none of .ply, .stl, .obj and .glb.
    LabelError
        If there is no mesh to write.
    OutputError
        If the disk is full or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise UnknownName("mesh format", path.suffix, FORMATS)
    if not meshes:
        raise LabelError(f"there is no surface to write to {path}")
    content = FORMATS[path.suffix.lower()](meshes)

    def check(written: Path) -> None:
        if written.read_bytes() != content:
            raise OutputError(f"{path} was not written: the disk gave back other bytes")

    with whole_or_absent(path, check) as temporary:
        temporary.write_bytes(content)
    return path


def _ply(meshes: Sequence[Mesh]) -> bytes:
    """Binary PLY of all meshes in one, each vertex in its structure's colour."""
    corner = [("xyz", "<f4", 3), ("rgb", "u1", 3)]
    vertices = np.zeros(sum(len(mesh.vertices) for mesh in meshes), corner)
    faces = np.zeros(sum(len(mesh.faces) for mesh in meshes), [("n", "u1"), ("at", "<i4", 3)])
    faces["n"] = 3
    v = f = 0
    for mesh in meshes:
        v_end, f_end = v + len(mesh.vertices), f + len(mesh.faces)
        vertices["xyz"][v:v_end], vertices["rgb"][v:v_end] = mesh.vertices, mesh.colour
        faces["at"][f:f_end] = mesh.faces + v
        v, f = v_end, f_end
    structures = [f"comment structure {' '.join(mesh.name.split())}" for mesh in meshes]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment RAS millimetres",
        *structures,
        f"element vertex {len(vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {colour}" for colour in ("red", "green", "blue")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    ascii_header = "\n".join(header).encode("ascii", errors="replace")
    return ascii_header + vertices.tobytes() + faces.tobytes()


def _by_trimesh(kind: str) -> Callable[[Sequence[Mesh]], bytes]:
    def encode(meshes: Sequence[Mesh]) -> bytes:
        import trimesh

        scene: Any = trimesh.Scene()
        for mesh in meshes:
            colours = np.tile([*mesh.colour, 255], (len(mesh.vertices), 1)).astype(np.uint8)
            solid = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colours, process=False)
            scene.add_geometry(solid, node_name=mesh.name, geom_name=mesh.name)
        content = scene.export(file_type=kind)
        return content.encode() if isinstance(content, str) else bytes(content)

    return encode


FORMATS: dict[str, Callable[[Sequence[Mesh]], bytes]] = {
    ".ply": _ply,
    ".stl": _by_trimesh("stl"),
    ".obj": _by_trimesh("obj"),
    ".glb": _by_trimesh("glb"),
}
"""Ending -> what turns meshes into a file's bytes."""
