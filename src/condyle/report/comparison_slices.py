"""Slices of a comparison: each model's best and worst, and chosen ones as all models predicted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from condyle.core import LabelMap, Volume
from condyle.core.lattice import on_grid
from condyle.io import read_labels
from condyle.report import panels
from condyle.report.charts import drawn, png
from condyle.report.comparison_tables import Compared, Model, Place, Slice, rows_of
from condyle.report.overlay import (
    PALE,
    PLANES,
    cut_to,
    entries_of,
    fill,
    turned_channels,
    window_of,
)
from condyle.report.panels import LETTERS

__all__ = ["Picture", "side_by_side", "slice_pictures"]


@dataclass(frozen=True)
class Picture:
    """A picture of a slice, and what its file is called."""

    name: str
    png: bytes


def slice_pictures(found: Compared, place: Place) -> Iterator[tuple[str, Picture]]:
    """What is said of each picture, and the picture.

    First each model's best and worst slice by IoU, among those in which the truth has a structure;
    then the chosen slices, as all models predicted them.
    """
    models = [*found.models, *found.specialists]
    for model in models:
        for word, slice, iou in _extremes(model, place):
            words = f"{word} slice of {model.name}: {slice.case}, {slice.plane} {slice.at}, IoU "
            file = f"{_plain(model.name)}-{word}.png"
            yield words + f"{iou:.3f}", Picture(file, _drawn(slice, [model], place, "prediction"))
    for slice in place.shown:
        able = [model for model in models if slice.case in model.predictions]
        words = f"{slice.case}, {slice.plane} {slice.at}, as all models predicted it"
        file = f"{_plain(slice.case)}-{slice.plane}-{slice.at}.png"
        yield words, Picture(file, _drawn(slice, able, place))


def _plain(name: str) -> str:
    """A name as part of a file's; '++' stays, so that U-Net and U-Net++ are told apart."""
    return re.sub(r"[^\w.+-]+", "-", name)


def _extremes(model: Model, place: Place) -> Iterator[tuple[str, Slice, float]]:
    """A model's best and worst slice with its mean IoU over structures; of several the largest."""
    view = "2d_ends" if model.of_ends else "2d"
    slices: dict[Slice, list[Mapping[str, Any]]] = {}
    for row in rows_of(model, view, place.ends, place.planes):
        last = model.runs[-1]["seed"]  # the seed whose label maps are kept
        if row.get("plane") and row["seed"] == last and row["case"] in model.predictions:
            key = Slice(row["case"], row["plane"], int(row["slice"]))
            slices.setdefault(key, []).append(row)
    scored: list[tuple[float, int, Slice]] = []
    for key, rows in slices.items():
        size = sum(int(row["tp"]) + int(row["fn"]) for row in rows)
        if size:
            scored.append((float(np.mean([float(row["iou"]) for row in rows])), size, key))
    if scored:
        best = max(scored, key=lambda one: one[:2])
        worst = min(scored, key=lambda one: (one[0], -one[1]))
        yield "best", best[2], best[0]
        yield "worst", worst[2], worst[0]


def _drawn(slice: Slice, models: list[Model], place: Place, word: str = "") -> bytes:
    case = place.cases[slice.case]
    truth = case.labels()
    maps = {"truth": truth}
    for model in models:
        maps[word or model.name] = read_labels(model.predictions[slice.case], truth.scheme)
    return side_by_side(case.channels(), maps, slice.plane, slice.at)


def side_by_side(
    scan: Sequence[Volume], maps: Mapping[str, LabelMap], plane: str, index: int
) -> bytes:
    """A PNG of a slice: the scan, and beside it each label map, its structures in full colour.

    All panels are cut to what the label maps hold in the scan and 30 mm around it, in one scale.

    Parameters
    ----------
    scan : its channels.
    maps : what is written above -> label map on the scan's grid.
    plane, index : the slice, counted from the patient's left, back or feet from 0.

    Raises
    ------
    GridMismatch
        If a label map is not on the scan's grid.
    """
    channels = turned_channels(scan)
    first = channels[0]
    turned = {
        name: on_grid(labels, scan[0].grid, "scan and labels of a picture").reoriented("RAS")
        for name, labels in maps.items()
    }
    cut = cut_to([m.within(m.known()).array for m in turned.values()], first)
    cut.middle[PLANES[plane][0]] = index
    seen = cut.seen(channels, plane)
    low, high = window_of(first, [seen])
    slices = [{plane: cut.slice(m.array, plane)} for m in turned.values()]
    entries = entries_of(list(turned.values()), slices, False, False)
    wide, up = cut.size_mm(plane)
    row = panels.sheet_of_panels((wide, up), len(turned) + 1, 1, entries, "black")
    extent = (0.0, wide, up, 0.0)
    for n, (axes, name) in enumerate(zip(row.panels, ["scan", *turned], strict=True)):
        if n:
            fill(axes, slices[n - 1][plane], turned[name], extent, alpha=1.0)
        else:
            axes.imshow(seen, cmap="gray", vmin=low, vmax=high, extent=extent,
                        interpolation="bilinear")  # fmt: skip
        axes.set(xlim=(0, wide), ylim=(up, 0))
        title = name if n else cut.place(first, plane, ", ")
        axes.set_title(title, color=PALE, fontsize=LETTERS - 2.5, pad=4, parse_math=False)
    panels.scale_bar(row, [(wide, up)] * len(row.panels), "white", unit=first.grid.unit)
    panels.write_legend(row, entries, PALE)
    return png(drawn(row.figure))
