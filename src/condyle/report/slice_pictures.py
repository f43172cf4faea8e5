"""One slice of a scan with its labels, side by side; and sheets of many slices.

Drawn without any global state, so that threads may draw at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from condyle.core import LabelMap, Volume
from condyle.core.lattice import on_grid
from condyle.core.volume import OnGrid
from condyle.report import panels
from condyle.report.charts import DPI, encoded
from condyle.report.colours import colour_of
from condyle.report.drawing import Drawing
from condyle.report.overlay import (
    PALE,
    PLANES,
    Cut,
    cut_to,
    entries_of,
    fill,
    sides_of,
    turned_channels,
    window_of,
)
from condyle.report.panels import LETTERS, Entry

__all__ = ["Slices", "Words"]

DIFFERENCES = ((58, 111, 224), (224, 49, 45), (190, 120, 220))
"""Colours of voxels that are background in the labels alone, in the truth alone, and those of other
structures: as in pictures of distances, what lacks is blue and what is too much red."""
MASK = "mask"


class Words(NamedTuple):
    """What is written of two label maps, and of what differs between them."""

    labels: str = "prediction"
    truth: str = "truth"
    difference: str = "difference"
    kinds: tuple[str, str, str] = ("missed", "too much", "another structure")


WORDS = Words()


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a scan that can be drawn, its labels with them.

    Parameters
    ----------
    scan : its channels; () to draw the labels alone, on black.
    labels, truth : on the scan's grid, as `of` puts them there; truth without labels is refused.
    plane : axial, coronal or sagittal.
    window : the intensities shown as black and as white; None to follow the scan.
    words : what the label maps are called.
    """

    scan: tuple[Volume, ...]
    labels: LabelMap | None
    truth: LabelMap | None
    plane: str
    window: tuple[float, float] | None = None
    words: Words = WORDS

    @classmethod
    def of(
        cls,
        scan: Sequence[Volume],
        labels: LabelMap | None,
        truth: LabelMap | None,
        plane: str,
        **more: Any,
    ) -> Slices:
        """Slices in RAS axes; of several channels the first is shown, or all as colours.

        Raises
        ------
        GridMismatch
            If labels are not on the scan's grid.
        """
        first = scan[0] if scan else labels
        assert first is not None
        maps = [
            m if m is None else on_grid(m, first.grid, "scan and labels of a picture")
            for m in (labels, truth)
        ]
        turned = [m if m is None else m.reoriented("RAS") for m in maps]
        return cls(turned_channels(scan), turned[0], turned[1], plane, **more)

    @property
    def axis(self) -> int:
        """The RAS axis that the slices follow one another along."""
        return PLANES[self.plane][0]

    @property
    def maps(self) -> list[LabelMap]:
        """The truth, if there is one, and the labels."""
        return [m for m in (self.truth, self.labels) if m is not None]

    @property
    def base(self) -> OnGrid:
        """What says where the voxels are."""
        return self.scan[0] if self.scan else self.maps[0]

    def __len__(self) -> int:
        return self.base.grid.shape[self.axis]

    def largest(self) -> int:
        """The slice with the most labelled voxels, of the truth if there is one; else the middle.

        Of slices with equally many, the middle one.
        """
        if not self.maps:
            return len(self) // 2
        first = self.maps[0]
        counts = np.count_nonzero(first.within(first.known()).array, axis=self._others)
        best = np.flatnonzero(counts == counts.max())
        return int(best[len(best) // 2])

    def most_changed(self) -> int:
        """The slice where labels and truth differ in most voxels; the largest, where in none."""
        first, second = (m.array for m in self.maps)
        counts = np.count_nonzero(first != second, axis=self._others)
        return int(counts.argmax()) if counts.any() else self.largest()

    def filled(self) -> NDArray[np.int_]:
        """The slices that hold a structure, in any of the label maps; all, without label maps."""
        if not self.maps:
            return np.arange(len(self))
        held = [m.within(m.known()).array.any(axis=self._others) for m in self.maps]
        return np.flatnonzero(np.any(held, axis=0))

    @property
    def _others(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if axis != self.axis)

    def one(self, at: int) -> Drawing:
        """A slice beside its labels and both superimposed.

        Without a truth: scan, mask, and the mask on the scan. With one: scan, truth, prediction,
        and where they differ.

        Parameters
        ----------
        at : the slice, from 0 at the patient's left, back or feet.
        """
        cut = self._cut(at, whole=True)
        names = self._panels()
        sizes = [cut.size_mm(self.plane)] * len(names)
        scan = self._scan(cut)
        entries = self._entries([cut], self.truth is not None)
        row = panels.row_of_panels(sizes, entries, "black", lines=2)
        limits = self._window([scan])
        for axes, name in zip(row.panels, names, strict=True):
            self._draw(axes, cut, None if name == MASK else scan, name, limits)
            panels.letters(axes, sides_of(self.base, self.plane), "white")
            _title(axes, name)
        high = row.figure.get_figheight() * DPI
        row.figure.text(0.5, 1 - 4 / high, cut.place(self.base, self.plane, ", "), ha="center",
                        va="top", color=PALE, fontsize=LETTERS, parse_math=False)  # fmt: skip
        panels.scale_bar(row, sizes, "white", unit=self.base.grid.unit)
        panels.write_legend(row, entries, PALE)
        return Drawing(encoded(row.figure))

    def sheet(self, numbers: Sequence[int]) -> Drawing:
        """Many slices on one sheet, cut to the labels: the truth beside the prediction, if any.

        Parameters
        ----------
        numbers : slices, from 0 at the patient's left, back or feet; one or more.
        """
        cuts = [self._cut(at, whole=False) for at in numbers]
        names = ["superimposed" if self.maps else "scan"]
        if self.truth is not None:
            names = [self.words.truth, self.words.labels]
        size, scans = cuts[0].size_mm(self.plane), [self._scan(cut) for cut in cuts]
        entries = self._entries(cuts, False)
        if self.truth is not None:
            beside = f"{self.words.truth} left, {self.words.labels} right"
            entries.append((Patch(facecolor="none"), beside))
        sheet = panels.sheet_of_panels(size, len(cuts), len(names), entries, "black")
        limits = self._window(scans)
        places = iter(sheet.panels)
        for cut, scan in zip(cuts, scans, strict=True):
            for name in names:
                axes = next(places)
                self._draw(axes, cut, scan, name, limits)
                if name == names[0]:
                    _, _, mm = cut.place(self.base, self.plane, ", ").rpartition(", ")
                    _title(axes, f"{cut.middle[self.axis]}   {mm}", side="left")
        panels.letters(sheet.panels[0], sides_of(self.base, self.plane), "white")
        first = sheet._replace(panels=sheet.panels[:1])
        panels.scale_bar(first, [size], "white", unit=self.base.grid.unit)
        panels.write_legend(sheet, entries, PALE)
        return Drawing(encoded(sheet.figure))

    def _panels(self) -> list[str]:
        """What is drawn beside each other."""
        scan = ["scan"] if self.scan else []
        if self.truth is not None:
            return [*scan, self.words.truth, self.words.labels, self.words.difference]
        if self.labels is None:
            return scan
        return [*scan, MASK, *(["superimposed"] if scan else [])]

    def _cut(self, at: int, whole: bool) -> Cut:
        maps = [] if whole else [m.within(m.known()).array for m in self.maps]
        cut = cut_to(maps, self.base)
        cut.middle[self.axis] = at
        return cut

    def _scan(self, cut: Cut) -> NDArray[Any] | None:
        return cut.seen(self.scan, self.plane) if self.scan else None

    def _window(self, scans: list[NDArray[Any] | None]) -> tuple[float, float]:
        given = [scan for scan in scans if scan is not None]
        if self.window is not None or not given:
            return self.window or (0.0, 1.0)
        return window_of(self.scan[0], given)

    def _draw(
        self,
        axes: Axes,
        cut: Cut,
        scan: NDArray[Any] | None,
        name: str,
        limits: tuple[float, float],
    ) -> None:
        """Draw a panel, called by its name."""
        wide, up = cut.size_mm(self.plane)
        extent = (0.0, wide, up, 0.0)
        axes.set_facecolor("black")
        if scan is not None:
            axes.imshow(scan, cmap="gray", vmin=limits[0], vmax=limits[1], extent=extent,
                        interpolation="bilinear")  # fmt: skip
        if name == self.words.difference and self.labels is not None and self.truth is not None:
            pair = [cut.slice(m.array, self.plane) for m in (self.labels, self.truth)]
            axes.imshow(_differences(pair[0], self.labels, pair[1], self.truth), extent=extent,
                        interpolation="nearest")  # fmt: skip
        elif name != "scan":
            shown = self.truth if name == self.words.truth else self.labels
            if shown is not None:
                mask = cut.slice(shown.array, self.plane)
                fill(axes, mask, shown, extent, alpha=0.5 if scan is not None else 1.0)
        axes.set(xlim=(0, wide), ylim=(up, 0))

    def _entries(self, cuts: Sequence[Cut], differ: bool) -> list[Entry]:
        slices = [
            {str(n): cut.slice(m.array, self.plane) for n, cut in enumerate(cuts)}
            for m in self.maps
        ]
        entries = entries_of(self.maps, slices, outlined=False, filled=False)
        if differ:
            named = zip(DIFFERENCES, self.words.kinds, strict=True)
            entries += [panels.entry(colour_of(colour), name) for colour, name in named]
        return entries


def _differences(
    labels: NDArray[Any], named: LabelMap, truth: NDArray[Any], true: LabelMap
) -> NDArray[np.float64]:
    """(rows, columns, 4) red, green, blue, alpha: where a slice's labels are not the truth's.

    Structures are matched by name. What nobody labelled does not differ.
    """
    numbers = {label.id: label.name for label in named.scheme.labels}
    known = {label.name: label.id for label in true.scheme.labels}
    matched = np.zeros(labels.shape, np.int64)
    for at, (number, name) in enumerate(numbers.items()):
        matched[labels == number] = known.get(name, -1 - at)
    differs = matched != truth
    if true.scheme.ignore is not None:
        differs &= truth != true.scheme.ignore
    kinds = (matched == 0, truth == 0, (matched != 0) & (truth != 0))
    colours = np.zeros((*labels.shape, 4))
    for kind, colour in zip(kinds, DIFFERENCES, strict=True):
        colours[differs & kind] = (*colour_of(colour), 0.85)
    return colours


def _title(axes: Axes, words: str, side: Literal["left", "center"] = "center") -> None:
    axes.set_title(words, loc=side, color=PALE, fontsize=LETTERS - 1.5, pad=5, parse_math=False)
