"""Which masks belong to a scan, and the one label map that they become."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.core.labels import SCHEMES
from condyle.core.lattice import on_grid
from condyle.core.masks import cut_at_half, holds_fractions, mask_of
from condyle.core.merge import OverlapReport, Policy, merge, scheme_of_names, structure_of
from condyle.core.relabel import by_name, consecutive, listed
from condyle.errors import (
    ConfigError,
    DatasetError,
    LabelError,
    MissingFile,
    UnknownName,
)
from condyle.io import read, read_labels
from condyle.io.datasets import layouts
from condyle.io.paths import ending_of
from condyle.io.pictures import is_picture
from condyle.io.scans import names_of, read_contours
from condyle.io.texts import read_json
from condyle.jobs.job import warn
from condyle.workflows.importing.pairing import Masks

__all__ = [
    "Notes",
    "in_scheme",
    "labels_of",
    "placed",
    "require_structures",
    "scheme_found",
    "scheme_named",
    "structures_of",
]


@dataclass
class Notes:
    """What is said of a case when all are done.

    Parameters
    ----------
    lines : cases, and what the user should know of each.
    names : what a mask or a segment is called -> its structure, '' if it has none.
    numbers : how many numbers its label map holds besides 0; 0 for masks.
    """

    lines: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    names: dict[str, str] = field(default_factory=dict[str, str])
    numbers: int = 0

    def add(self, case: str, sentence: str) -> None:
        """Note a sentence of a case, once."""
        if (case, sentence) not in self.lines:
            self.lines.append((case, sentence))


def scheme_named(name: str) -> LabelScheme | None:
    """A built-in scheme, one from a JSON file, or None for ''."""
    if not name:
        return None
    if name in SCHEMES:
        return SCHEMES[name]
    if not Path(name).suffix:
        raise UnknownName("scheme", name, [*SCHEMES, "or a JSON file"])
    if not Path(name).exists():
        raise MissingFile(f"the scheme {name} is not there")
    try:
        return LabelScheme.of(read_json(Path(name)))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f'{name} is no scheme: write {{"tibia": 1, "femur": 2}}') from error


def scheme_found(groups: Mapping[str, Masks], rename: Mapping[str, str]) -> LabelScheme:
    """The scheme of the mask names, or of the label maps' own names or numbers, renamed."""
    maps = [case for case, group in groups.items() if group.is_map]
    if maps and len(maps) < len(groups):
        raise ConfigError(
            f"{maps[0]} has a label map, other scans have masks: say by `scheme` what the "
            "numbers of the label map stand for"
        )
    if not maps:
        names = {rename.get(name, name) for group in groups.values() for name in group.names}
        if names == {""}:
            raise ConfigError("`rename` leaves no mask: give at least one a structure")
        return scheme_of_names(names - {""})
    files = [group.files[0] for group in groups.values()]
    schemes = [names_of(file) or read_labels(file).scheme for file in files]
    bare = {scheme.has_bare_numbers for scheme in schemes}
    if bare == {True} and not rename:
        return LabelScheme.numbered({number for scheme in schemes for number in scheme.ids})
    if len(bare) == 1:
        met = dict.fromkeys(name for scheme in schemes for name in scheme.to_dict())
        bare_names = {name: name.removeprefix("label_") for name in met if bare == {True}}
        names = dict.fromkeys(
            filter(
                None, (rename.get(name, rename.get(bare_names.get(name, ""), name)) for name in met)
            )
        )
        return LabelScheme.of({name: n for n, name in enumerate(names, 1)})
    raise ConfigError(
        "some label maps name their structures and others hold bare numbers: say by `scheme` "
        "what the numbers stand for"
    )


def structures_of(
    names: Iterable[str], scheme: LabelScheme, rename: Mapping[str, str]
) -> dict[str, str]:
    """Name of a mask -> the structure of the scheme that it means, '' where it means none."""
    found: dict[str, str] = {}
    for name in names:
        meant = rename.get(name, name)
        found[name] = (structure_of(meant, scheme) or "") if meant else ""
    return found


def require_structures(
    groups: Mapping[str, Masks], scheme: LabelScheme, rename: Mapping[str, str]
) -> None:
    """Raise `DatasetError` of all cases none of whose masks means a structure of the scheme."""
    bare = [
        f"{case} ({listed(group.names)})"
        for case, group in groups.items()
        if not group.is_map and not any(structures_of(group.names, scheme, rename).values())
    ]
    if bare:
        raise DatasetError(
            f"none of its masks has the name of one of {listed(scheme.names)}: {', '.join(bare)}; "
            "say what is what by `rename`: NAME=STRUCTURE"
        )


def labels_of(
    case: str,
    given: Masks,
    scheme: LabelScheme,
    overlap: Policy,
    rename: Mapping[str, str],
    notes: Notes,
    grid: Grid | None = None,
    ignore_rest: bool = False,
) -> tuple[LabelMap, OverlapReport | None]:
    """A scan's label map on its grid, numbered from 1 on, and what its masks claimed twice.

    Parameters
    ----------
    ignore_rest : whether voxels that no mask claims are marked 'ignore': not all was drawn.
    """
    regions = read_contours(given.files[0], grid) if given.is_map and grid is not None else None
    if given.is_map and regions is None:
        file = given.files[0]
        names = scheme if is_picture(file) else None  # a mask in colour has their colours
        labels = in_scheme(read_labels(file, names, scan=grid), scheme, rename, notes, case)
        return placed(labels, grid, notes, case), None
    if regions is not None:
        given = Masks(given.files * len(regions), names=tuple(regions))
    require_structures({case: given}, scheme, rename)
    known = structures_of(given.names, scheme, rename)
    notes.names |= known
    files = dict(zip(given.names, given.files, strict=True))
    wanted = [name for name, structure in known.items() if structure]
    if unknown := [name for name in known if name not in wanted]:
        called = [files[name].name if regions is None else name for name in unknown]
        notes.add(case, f"not in the scheme, ignored: {listed(called)}")
    opened = (
        {name: regions[name] for name in wanted}
        if regions is not None
        else layouts.Masks(
            {name: files[name] for name in wanted},
            partial(_mask, case=case, notes=notes, grid=grid),
        )
    )
    labels, report = merge(opened, consecutive(scheme), overlap, known, grid)
    if report.pairs:
        notes.add(case, str(report))
    ignore = labels.scheme.ignore
    if ignore_rest and ignore is not None:
        kind = labels.array.dtype.type
        labels = labels.with_array(np.where(labels.array == 0, kind(ignore), labels.array))
    return labels, report


def in_scheme(
    labels: LabelMap, scheme: LabelScheme, rename: Mapping[str, str], notes: Notes, case: str
) -> LabelMap:
    """The structures of the scheme alone, numbered from 1 on; what was left out is noted."""
    found, met = by_name(labels, scheme, case, rename)
    left_out = [name for name, structure in met.items() if not structure]
    if left_out:
        said = f"labels that are not in the scheme became background: {listed(left_out)}"
        notes.add(case, said)
    notes.names |= met
    notes.numbers = len(met)
    return found


PLACED = (
    "labels with other axes or another extent than the scan were put in their place, without "
    "interpolation"
)


def placed(labels: LabelMap, grid: Grid | None, notes: Notes, case: str) -> LabelMap:
    """A label map on its scan's grid, which is noted where it was on another."""
    if grid is None:
        return labels
    if not labels.grid.same_as(grid):
        notes.add(case, PLACED)
    return on_grid(labels, grid, f"{case}: scan and masks")


OF_LABELS = (".seg.nrrd", ".dcm", ".ima", ".zip")
"""Endings of files that may hold several segments."""


def _mask(path: Path, case: str, notes: Notes, grid: Grid | None) -> LabelMap | Volume:
    """A mask of one structure; probabilities are cut at 0.5, which is warned of."""
    called = f"{case}/{path.name}"
    if path.is_dir() or is_picture(path) or ending_of(path) in OF_LABELS:
        mask: LabelMap | Volume = read_labels(path, scan=grid)
        if len(inside := mask.present()) > 1:
            names = [mask.scheme[number].name for number in inside]
            raise LabelError(
                f"{called} holds {len(names)} segments ({listed(names)}), and was taken for the "
                "mask of one structure: give it the name of its scan"
            )
    else:
        mask = read(path)
    if holds_fractions(mask.array, called):
        inside, said = cut_at_half(mask.array, called)
        warn(said)
    else:
        inside = mask_of(mask.array, called)
    if grid is not None and not mask.grid.same_as(grid):
        notes.add(case, PLACED)
    # a mask that was cut to its extent is full, and smaller than the scan
    if grid is not None and inside.size >= math.prod(grid.shape) and inside.all():
        raise LabelError(
            f"mask {called} fills the whole scan, without any background: export it again"
        )
    return mask.with_array(inside.astype(np.uint8))
