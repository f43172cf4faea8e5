"""The cases of an import: scans with their masks, or those of a data set of another layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from condyle.config.choices import NotDrawn
from condyle.core import Case, Dataset, Fold, Grid, LabelMap, LabelScheme, Volume
from condyle.core.merge import OverlapReport, Policy
from condyle.errors import CondyleError, ConfigError, DatasetError, UnknownName
from condyle.io import (
    find_scans,
    list_scans,
    patient_of,
    read,
    read_channels,
    scan_name,
    scans_by_name,
)
from condyle.io.listing import name_scans
from condyle.io.pictures import COLOURS, as_channels, in_colour, is_picture
from condyle.workflows.importing.masks import (
    Notes,
    in_scheme,
    labels_of,
    placed,
    require_structures,
    scheme_found,
    structures_of,
)
from condyle.workflows.importing.pairing import Masks, Pairing, paired, together
from condyle.workflows.importing.pairs_table import tabled

__all__ = ["Source", "Sources", "Wanted", "sources_of_dataset", "sources_of_scans"]

Labels = tuple[LabelMap, OverlapReport | None]


@dataclass(frozen=True)
class Source:
    """One case before it is imported.

    Parameters
    ----------
    files, masks : of the scan, one a channel; and of its masks or its label map.
    patient : the same for the scans of one patient, '' where nothing is known. It never leaves
        memory.
    read : gives the channels.
    read_labels : gives the label map numbered from 1 on, on the scan's grid, and what its masks
        claimed twice, and adds to the notes; None where the case has no labels.
    """

    name: str
    files: tuple[Path, ...]
    masks: tuple[Path, ...]
    patient: str
    read: Callable[[], tuple[Volume, ...]]
    read_labels: Callable[[Notes, Grid], Labels] | None
    given: str
    """The name that it was given under."""


@dataclass(frozen=True)
class Sources:
    """All cases of an import, and what their numbers stand for.

    Parameters
    ----------
    channels : their names; () where only the scans can tell.
    folds : those of the data set that is imported.
    remarks : what the user should know of them.
    undrawn : case -> structures of which it has no mask, though others have one.
    """

    cases: tuple[Source, ...]
    scheme: LabelScheme
    channels: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()
    remarks: tuple[str, ...] = ()
    undrawn: Mapping[str, set[str]] = field(default_factory=dict[str, set[str]])


@dataclass(frozen=True)
class Wanted:
    """What an import makes of masks: settings of its request.

    Parameters
    ----------
    scheme : the structures; None takes those that are found.
    rename : what a mask or a segment is called -> what it is to be called.
    not_drawn : what voxels that no mask claims become where a structure has no mask.
    """

    scheme: LabelScheme | None
    overlap: Policy = "error"
    rename: Mapping[str, str] = field(default_factory=dict[str, str])
    not_drawn: NotDrawn = "background"
    anonymous: bool = False

    def called(self, names: Iterable[str]) -> dict[str, str]:
        """Case -> what it is called in the data set."""
        known = list(names)
        if not self.anonymous:
            return {name: name for name in known}
        return {name: f"case_{number:03d}" for number, name in enumerate(sorted(known), 1)}


def sources_of_scans(
    scans: Sequence[Path],
    masks: Sequence[Path],
    wanted: Wanted,
    table: Path | None = None,
    volume: int | None = None,
    series: str = "",
) -> Sources:
    """Scans, each with its masks, by a table or by their names."""
    if table is not None:
        files, pairing = tabled(table, (*scans, *masks), wanted.scheme)
    else:
        files, pairing = _paired(scans, masks, wanted.scheme)
    groups, called = pairing.masks, wanted.called(pairing.cases.values())
    scheme = wanted.scheme or scheme_found(groups, wanted.rename)
    if wanted.scheme:
        strangers = {name for name in wanted.rename.values() if name} - set(scheme.to_dict())
        if strangers:
            raise UnknownName("structure", min(strangers), scheme.names)
    require_structures(groups, scheme, wanted.rename)
    undrawn = _undrawn(groups, scheme, wanted.rename)
    ignoring = wanted.not_drawn == "ignore"
    if ignoring and any(undrawn.values()) and scheme.ignore is None:
        scheme = replace(scheme, ignore=max(scheme.ids) + 1)
    colours = any(is_picture(path) and in_colour(path) for path in files.values())
    cases = tuple(
        Source(
            case := called[pairing.cases[name]],
            (path,),
            groups[name].files,
            pairing.patients.get(name) or patient_of(path, series),
            partial(_channels, path, volume, series, colours),
            partial(
                labels_of, case, groups[name], scheme, wanted.overlap, wanted.rename,
                ignore_rest=ignoring and bool(undrawn.get(name)),
            ),
            pairing.cases[name],
        )
        for name, path in files.items()
    )  # fmt: skip
    lost = pairing.lost
    remarks = (f"masks without a scan were ignored: {', '.join(lost)}",) if lost else ()
    undrawn = {called[pairing.cases[name]]: lacking for name, lacking in undrawn.items()}
    channels = ()
    if files and all(map(is_picture, files.values())):
        channels = COLOURS if colours and volume is None else ("grey",)
    return Sources(cases, scheme, channels, remarks=remarks, undrawn=undrawn)


def _paired(
    scans: Sequence[Path], masks: Sequence[Path], scheme: LabelScheme | None
) -> tuple[dict[str, Path], Pairing]:
    """Scan -> file, and the masks of each."""
    if not scans:
        raise ConfigError("give scans as `scans`, or a table of scans and masks as `pairs`")
    found = scans_by_name(scans)
    if not found:
        raise DatasetError(f"no scans found in {', '.join(map(str, scans))}")
    one_place = {path.resolve() for path in scans} == {path.resolve() for path in masks}
    if (one_place or not masks) and (both := together(found, scheme)):
        return both
    if not masks:
        raise ConfigError(
            "give the scans' masks as `masks`, or one data set folder and no masks", setting="masks"
        )
    try:
        return found, paired(list(found), masks, scheme)
    except DatasetError as error:
        if _fit_the_other_way_round(scans, masks):
            raise DatasetError(
                f"{error}; are scans and masks given the other way round? First come the scans, "
                "then `masks`"
            ) from error
        raise


def _fit_the_other_way_round(scans: Sequence[Path], masks: Sequence[Path]) -> bool:
    """Whether what was given as masks would have masks in what was given as scans."""
    try:
        names = [name for path in masks for name in name_scans(list_scans(path).scans)]
        return len(names) > 1 and bool(paired(names, scans).masks)
    except CondyleError:
        return False


def _undrawn(
    groups: Mapping[str, Masks], scheme: LabelScheme, rename: Mapping[str, str]
) -> dict[str, set[str]]:
    """Scan -> the structures that it has no mask of, though others have one; not for label maps."""
    drawn = {
        name: set(structures_of(group.names, scheme, rename).values()) - {""}
        for name, group in groups.items()
        if not group.is_map
    }
    known: set[str] = set().union(*drawn.values())
    return {name: known - own for name, own in drawn.items()}


def _channels(path: Path, volume: int | None, series: str, colours: bool) -> tuple[Volume, ...]:
    """The one channel of a scan; of pictures, of which some are in colour, three."""
    if is_picture(path) and volume is None:
        return as_channels(read_channels([path]), len(COLOURS) if colours else 1)
    return (read(path, volume=volume, series=series),)


def sources_of_dataset(dataset: Dataset, wanted: Wanted) -> Sources:
    """The cases of a data set, with its channels, patients and folds."""
    scheme = wanted.scheme or dataset.scheme
    if wanted.rename and not wanted.scheme:
        scheme = _renamed(dataset.scheme, wanted.rename)
    if scheme.ignore is None and dataset.scheme.ignore is not None:
        scheme = replace(scheme, ignore=max(scheme.ids) + 1)
    # without patients.csv each case counts as a patient, which says nothing
    tabled = any(case.patient != case.id for case in dataset)
    called = wanted.called(case.id for case in dataset)
    cases = tuple(
        Source(
            called[case.id],
            case.images,
            (case.label,) if case.label else (),
            case.patient if tabled else patient_of(case.images[0]),
            case.channels,
            partial(_case_labels, called[case.id], case, scheme, wanted) if case.label else None,
            case.id,
        )
        for case in dataset
    )
    folds = tuple(
        Fold(*(tuple(called.get(name, name) for name in part) for part in parts))
        for parts in ((fold.train, fold.validation, fold.test) for fold in dataset.folds)
    )
    return Sources(cases, scheme, dataset.channel_names, folds)


def _renamed(scheme: LabelScheme, rename: Mapping[str, str]) -> LabelScheme:
    """The structures of a scheme under other names, numbered from 1 on."""
    names = dict.fromkeys(filter(None, (rename.get(name, name) for name in scheme.names)))
    return LabelScheme.of({name: number for number, name in enumerate(names, 1)})


def _case_labels(
    name: str, case: Case, scheme: LabelScheme, wanted: Wanted, notes: Notes, grid: Grid
) -> Labels:
    """A case's label map, or its folder of masks (TotalSegmentator) made one."""
    if case.label and case.label.is_dir():
        files = tuple(find_scans(case.label))
        masks = Masks(files, names=tuple(map(scan_name, files)))
        return labels_of(name, masks, scheme, wanted.overlap, wanted.rename, notes, grid)
    labels = in_scheme(case.labels(), scheme, wanted.rename, notes, name)
    return placed(labels, grid, notes, name), None
