"""Surfaces as files: PLY, STL, OBJ and GLB, each of which says in which space it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.errors import LabelError, UnknownName
from condyle.jobs.outputs import write_bytes
from condyle.mesh.triangles import Mesh, vertex_normals

__all__ = ["FORMATS", "SPACES", "write"]

SPACES = {"ras": (1.0, 1.0, 1.0), "lps": (-1.0, -1.0, 1.0)}
"""Name -> what x, y and z of RAS+ mm are multiplied with."""

UPRIGHT = {
    "ras": ((-1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "lps": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
}
"""Name -> the rotation to glTF's axes: x to the body's left, y to its head, z to its front."""

METRES = 0.001
"""glTF's unit is the metre."""


def write(meshes: Sequence[Mesh], path: Path, *, space: str = "ras") -> Path:
    """Write surfaces to one file in the format of its ending, whole or not at all.

    PLY, STL and OBJ hold millimetres. So do the vertices in a GLB, under a node that brings them
    to the metres and the upright y axis that glTF asks for. PLY, OBJ (with a .mtl beside it) and
    GLB hold the structures' colours; OBJ and GLB keep structures apart.

    Parameters
    ----------
    space : ras or lps: which way x, y and z run. Each format says it, as 3D Slicer writes it
        (SPACE=RAS in a comment or the header), GLB in its asset's extras.

    Raises
    ------
    UnknownName
        If the ending is none of .ply, .stl, .obj and .glb, or the space neither ras nor lps.
    LabelError
        If there is no mesh to write.
    OutputError
        If the disk is full or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise UnknownName("mesh format", path.suffix, FORMATS)
    if space not in SPACES:
        raise UnknownName("space", space, SPACES)
    if not meshes:
        raise LabelError(f"there is no surface to write to {path}")
    turned = [replace(mesh, vertices=mesh.vertices * SPACES[space]) for mesh in meshes]
    for ending, content in FORMATS[path.suffix.lower()](turned, space, path.stem).items():
        write_bytes(path if ending == path.suffix.lower() else path.with_suffix(ending), content)
    return path


def _word(name: str) -> str:
    """A name as one word."""
    return "_".join(name.split()) or "_"


def _ply(meshes: Sequence[Mesh], space: str, stem: str) -> dict[str, bytes]:
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
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment SPACE={space.upper()}",
        "comment millimetres",
        *(f"comment structure {_word(mesh.name)}" for mesh in meshes),
        f"element vertex {len(vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {colour}" for colour in ("red", "green", "blue")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    ascii_header = "\n".join(header).encode("ascii", errors="replace")
    return {".ply": ascii_header + vertices.tobytes() + faces.tobytes()}


def _stl(meshes: Sequence[Mesh], space: str, stem: str) -> dict[str, bytes]:
    """Binary STL of all meshes in one; it has no colours."""
    record = [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]
    triangles = np.zeros(sum(len(mesh.faces) for mesh in meshes), record)
    first = 0
    for mesh in meshes:
        here = slice(first, first + len(mesh.faces))
        lengths = np.linalg.norm(mesh.normals, axis=1, keepdims=True)
        triangles["normal"][here] = mesh.normals / np.maximum(lengths, np.finfo(float).tiny)
        triangles["corners"][here] = mesh.vertices[mesh.faces]
        first = here.stop
    names = " ".join(_word(mesh.name) for mesh in meshes)
    header = f"Condyle SPACE={space.upper()} millimetres {names}"
    head = header.encode("ascii", errors="replace")[:80].ljust(80)
    return {".stl": head + np.uint32(len(triangles)).tobytes() + triangles.tobytes()}


def _obj(meshes: Sequence[Mesh], space: str, stem: str) -> dict[str, bytes]:
    """OBJ with an object and a material a structure, and the .mtl file of the colours."""
    lines = [f"# Condyle SPACE={space.upper()}\n# millimetres\nmtllib {stem}.mtl\n"]
    materials = ["# Condyle\n"]
    first = 1
    for mesh in meshes:
        name = _word(mesh.name)
        red, green, blue = (channel / 255 for channel in mesh.colour)
        materials.append(f"newmtl {name}\nKd {red:.6f} {green:.6f} {blue:.6f}\nillum 1\n")
        lines.append(f"o {name}\nusemtl {name}\n")
        lines.append("v %.5f %.5f %.5f\n" * len(mesh.vertices) % tuple(mesh.vertices.flat))
        lines.append("f %d %d %d\n" * len(mesh.faces) % tuple((mesh.faces + first).flat))
        first += len(mesh.vertices)
    return {".mtl": "".join(materials).encode(), ".obj": "".join(lines).encode()}


def _glb(meshes: Sequence[Mesh], space: str, stem: str) -> dict[str, bytes]:
    """Binary glTF 2.0 with a node and a material a structure, under one that turns and scales."""
    matrix = np.eye(4)
    matrix[:3, :3] = METRES * np.array(UPRIGHT[space])
    arrays: list[NDArray[Any]] = []
    tree: dict[str, Any] = {
        "asset": {
            "version": "2.0",
            "generator": "Condyle",
            "extras": {
                "SPACE": space.upper(),
                "unit": "millimetre",
                "note": "vertices are in this space and unit; the matrix of the node 'world' "
                "brings them to metres, x to the body's left, y to its head, z to its front",
            },
        },
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{
            "name": "world",
            "matrix": matrix.T.ravel().tolist(),  # by columns
            "children": list(range(1, len(meshes) + 1)),
        }],
        "meshes": [], "materials": [], "accessors": [], "bufferViews": [],
    }  # fmt: skip
    for number, mesh in enumerate(meshes):
        normals = vertex_normals(mesh.normals, mesh.faces, len(mesh.vertices))
        arrays += [mesh.vertices.astype("<f4"), normals.astype("<f4"), mesh.faces.astype("<u4")]
        tree["nodes"].append({"name": mesh.name, "mesh": number})
        tree["meshes"].append({"name": mesh.name, "primitives": [{
            "attributes": {"POSITION": 3 * number, "NORMAL": 3 * number + 1},
            "indices": 3 * number + 2, "material": number,
        }]})  # fmt: skip
        tree["materials"].append({"name": mesh.name, "pbrMetallicRoughness": {
            "baseColorFactor": [*map(_linear, mesh.colour), 1.0],
            "metallicFactor": 0.0, "roughnessFactor": 0.7,
        }})  # fmt: skip
    for number, array in enumerate(arrays):
        start = sum(before.nbytes for before in arrays[:number])
        tree["bufferViews"].append({"buffer": 0, "byteOffset": start, "byteLength": array.nbytes})
        tree["accessors"].append(_accessor(number, array))
    tree["buffers"] = [{"byteLength": sum(array.nbytes for array in arrays)}]
    text = json.dumps(tree, ensure_ascii=False).encode()
    chunks = (b"JSON", text + b" " * (-len(text) % 4)), (b"BIN\0", b"".join(map(bytes, arrays)))
    body = b"".join(np.uint32(len(x)).tobytes() + kind + x for kind, x in chunks)
    return {".glb": b"glTF" + np.array([2, 12 + len(body)], "<u4").tobytes() + body}


def _accessor(view: int, array: NDArray[Any]) -> dict[str, Any]:
    """What glTF says of an array: vectors of floats, with their bounds, or whole numbers."""
    if array.dtype.kind == "u":
        return {"bufferView": view, "componentType": 5125, "count": array.size, "type": "SCALAR"}
    return {
        "bufferView": view, "componentType": 5126, "count": len(array), "type": "VEC3",
        "min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist(),
    }  # fmt: skip


def _linear(channel: int) -> float:
    """A channel of sRGB, 0 to 255, as the linear light of 0 to 1 that glTF asks for."""
    part = channel / 255
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


FORMATS: dict[str, Callable[[Sequence[Mesh], str, str], dict[str, bytes]]] = {
    ".ply": _ply,
    ".stl": _stl,
    ".obj": _obj,
    ".glb": _glb,
}
"""Ending -> what turns meshes, their space and the file's name into bytes: ending -> content, the
file of that ending last."""
