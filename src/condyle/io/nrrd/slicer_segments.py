"""3D Slicer's .seg.nrrd: the names, numbers and colours of segments, kept in an NRRD's header."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid, LabelMap, LabelScheme
from condyle.core.case import repeated
from condyle.core.labels import Colour, default_colour, whole_numbers
from condyle.errors import LabelError, OverlapError
from condyle.io.nrrd.image import load_layers

__all__ = ["load_labels", "slicer_keys"]


@dataclass(frozen=True)
class Segment:
    """One segment as the header describes it: `value` is its number within its `layer`."""

    name: str
    value: int
    layer: int
    colour: Colour | None


def load_labels(
    path: Path, scheme: LabelScheme | None
) -> tuple[NDArray[Any], Grid, LabelScheme | None]:
    """The label numbers (i, j, k) of an NRRD or MetaImage file, their grid and their scheme.

    Segments that the header names give the scheme; None without any. Where a scheme is given that
    knows all their names, it decides their numbers: the name is what a person chose.
    """
    array, grid, header = load_layers(path)
    segments = _segments(header.keys)
    wrong = [s.value for s in segments if not 1 <= s.value <= 65535]
    if wrong:
        raise LabelError(f"{path} numbers its segments {wrong[:8]}; 1 to 65535 is what they can be")
    if not segments:
        if array.ndim != 3:
            raise LabelError(f"{path} holds {array.shape[3]} numbers a voxel and names no segments")
        numbers = whole_numbers(array, str(path))
        return numbers, grid, scheme
    if twice := repeated(segment.name for segment in segments):
        raise LabelError(f"{path} has several segments called {', '.join(twice)}; rename them")
    known = scheme is not None and {s.name for s in segments} <= set(scheme.to_dict())
    unique = len({segment.value for segment in segments}) == len(segments)
    if scheme is not None and not known and not unique:
        raise LabelError(
            f"{path} holds the segments {', '.join(s.name for s in segments)}, which the scheme "
            f"{scheme.to_dict()} does not know; rename them in 3D Slicer"
        )
    if scheme is None or not known:
        ids = {s.name: s.value if unique else n for n, s in enumerate(segments, start=1)}
    else:
        ids = {segment.name: scheme.to_dict()[segment.name] for segment in segments}
    colours = {s.name: s.colour or default_colour(ids[s.name]) for s in segments}
    layers = array if array.ndim == 4 else array[..., np.newaxis]
    return _painted(path, layers, segments, ids), grid, scheme or LabelScheme.of(ids, colours)


def _painted(
    path: Path, layers: NDArray[Any], segments: Sequence[Segment], ids: Mapping[str, int]
) -> NDArray[Any]:
    """One label map (i, j, k) of all layers; refused if two claim a voxel."""
    painted = np.zeros(layers.shape[:3], np.uint16, order="F")
    for layer in range(layers.shape[3]):
        values = whole_numbers(layers[..., layer], str(path))
        mine = {segment.value: ids[segment.name] for segment in segments if segment.layer == layer}
        strangers = sorted({int(v) for v in np.unique(values)} - {0, *mine})
        if strangers:
            raise LabelError(f"{path} holds labels {strangers[:8]} that none of its segments names")
        table = np.zeros(max([int(values.max()), *mine]) + 1, np.uint16)
        table[list(mine)] = list(mine.values())
        part = table[values]
        shared = np.count_nonzero((part > 0) & (painted > 0))
        if shared:
            raise OverlapError(
                f"{path} holds segments that overlap in {shared} voxels, and a label map gives a "
                "voxel one label: separate them in 3D Slicer, or export one mask a segment and "
                "merge those with an overlap policy"
            )
        painted += part
    return whole_numbers(painted, str(path))


def _segments(keys: Mapping[str, str]) -> list[Segment]:
    """The segments that an NRRD's free pairs describe, in their order; [] if it has none.

    Before 3D Slicer 4.11 each segment had a layer of its own, with the value 1.
    """
    rows: dict[int, dict[str, str]] = {}
    for key, value in keys.items():
        found = re.fullmatch(r"Segment(\d+)_(Name|ID|LabelValue|Layer|Color)", key)
        if found:
            rows.setdefault(int(found[1]), {})[found[2]] = value
    return [
        Segment(
            name=row.get("Name") or row.get("ID") or f"Segment_{number + 1}",
            value=int(row.get("LabelValue", "1")),
            layer=int(row.get("Layer", str(at))),
            colour=_colour(row.get("Color", "")),
        )
        for at, (number, row) in enumerate(sorted(rows.items()))
    ]


def _colour(text: str) -> Colour | None:
    """Red, green and blue (0 to 255) of Slicer's three fractions; None if it gives no three."""
    parts = [float(part) for part in text.split()]
    if len(parts) != 3:
        return None
    r, g, b = (min(max(round(255 * part), 0), 255) for part in parts)
    return r, g, b


def slicer_keys(labels: LabelMap) -> dict[str, str]:
    """The free pairs that tell 3D Slicer a label map's names, numbers and colours."""
    extent = " ".join(f"0 {side - 1}" for side in labels.grid.shape)
    keys = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for n, label in enumerate(labels.scheme.entries):
        keys |= {
            f"Segment{n}_ID": f"Segment_{n + 1}",
            f"Segment{n}_Name": label.name,
            f"Segment{n}_LabelValue": str(label.id),
            f"Segment{n}_Layer": "0",
            f"Segment{n}_Color": " ".join(f"{c / 255:.6f}" for c in label.colour),
            f"Segment{n}_ColorAutoGenerated": "0",
            f"Segment{n}_NameAutoGenerated": "0",
            f"Segment{n}_Extent": extent,
        }
    return keys
