"""The label maps that are judged: which lie at a path, and the one scheme that all are put under.

On either side, a label map is a file, a case of a data set, or a folder of masks. Its names are in
the file, beside it, or those of its masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from condyle.core import Grid, LabelMap, LabelScheme
from condyle.core.labels import Label
from condyle.core.merge import Policy
from condyle.core.relabel import consecutive, matched
from condyle.errors import CondyleError, DatasetError
from condyle.io import is_dataset, open_dataset, read_labels, scans_by_name
from condyle.io.listing import list_scans
from condyle.io.paths import case_of, ending_of, is_hidden, spelled
from condyle.io.scans import names_of
from condyle.jobs.job import warn
from condyle.prepare.splits import held_out
from condyle.workflows.importing import pairing
from condyle.workflows.importing.masks import Notes, labels_of, scheme_found
from condyle.workflows.importing.pairing import Masks

__all__ = ["Found", "JudgedLabels", "one_scheme", "paired", "predictions_at", "truths_at"]


@dataclass(frozen=True)
class JudgedLabels:
    """One label map before it is read.

    Parameters
    ----------
    files : that it is made of.
    read : gives it, perhaps on the grid of its truth, which contours (RTSTRUCT) need; numbers that
        have no name are called label_N.
    names : gives its scheme, None where it has numbers alone.
    are_masks : whether it has names alone, and its numbers stand for nothing.
    """

    files: tuple[Path, ...]
    read: Callable[[Grid | None], LabelMap]
    names: Callable[[], LabelScheme | None]
    are_masks: bool = False


Found = dict[str, JudgedLabels]

T = TypeVar("T")


def truths_at(path: Path, others: Path, fold: int | None, overlap: Policy) -> Found:
    """Case -> its true label map: of a data set, files, or a folder of masks a case.

    Parameters
    ----------
    others : where the predictions lie; their names say what the folders of masks are.
    fold : of a data set, only the cases that it keeps for testing.

    Raises
    ------
    DatasetError, MissingFile
        If there are none.
    """
    if fold is not None or _holds_cases(path):
        dataset = open_dataset(path)
        cases = dataset.labelled() if fold is None else held_out(dataset, fold)
        scheme = None if dataset.scheme.has_bare_numbers else dataset.scheme
        return {
            case.id: JudgedLabels(
                tuple(filter(None, [case.label])), lambda _, c=case: c.labels(), lambda: scheme
            )
            for case in cases
        }
    found = _files_or_masks(path, others, overlap)
    if not found:
        raise DatasetError(f"no label maps found in {path}")
    return found


def predictions_at(path: Path, others: Path, overlap: Policy) -> Found:
    """Base name -> the label map: files, or a folder of masks a case (as of TotalSegmentator)."""
    return _files_or_masks(path, others, overlap)


def _files_or_masks(path: Path, others: Path, overlap: Policy) -> Found:
    folders = _mask_folders(path)
    names = [*_mask_folders(others), *_file_names(others)]
    cases = [name for name in folders if case_of(name, names) in names or f"{name}_0000" in names]
    if cases:
        return _masks(path, cases, overlap)
    return {name: _file(file) for name, file in scans_by_name([path], labels=True).items()}


def _holds_cases(path: Path) -> bool:
    """Whether a path is a data set; nnU-Net puts a dataset.json beside its predictions, too."""
    return is_dataset(path) and not any(map(ending_of, filter(Path.is_file, path.iterdir())))


def _mask_folders(path: Path) -> list[str]:
    """The folders of label maps in a folder that holds none itself."""
    if not path.is_dir() or _holds_cases(path):
        return []
    entries = [entry for entry in sorted(path.iterdir()) if not is_hidden(entry)]
    if any(scan.parent == path and scan.is_file() for scan in list_scans(path, True).scans):
        return []
    folders = [entry for entry in entries if entry.is_dir()]
    return [
        spelled(folder.name)
        for folder in folders
        if any(scan.is_file() for scan in list_scans(folder, True).scans)
    ]


def _file_names(path: Path) -> list[str]:
    """The names under which a path's label maps are known."""
    if _holds_cases(path):
        return [case.id for case in open_dataset(path)]
    try:
        return list(scans_by_name([path], labels=True))
    except DatasetError:  # of this path by itself, which is said where it is read
        return []


def _masks(path: Path, cases: Sequence[str], overlap: Policy) -> Found:
    """Case -> the label map of its folder of masks."""
    groups = pairing.paired(cases, [path]).masks
    masks = {case: group for case, group in groups.items() if not group.is_map}
    scheme = scheme_found(masks, {}) if masks else None
    found: Found = {}
    for case, group in groups.items():
        if scheme is None or group.is_map:
            found[case] = _file(group.files[0])
        else:
            read = partial(_merged, case, group, scheme, overlap)
            found[case] = JudgedLabels(group.files, read, lambda: scheme, are_masks=True)
    return found


def _file(path: Path) -> JudgedLabels:
    def read(grid: Grid | None) -> LabelMap:
        return read_labels(path, scan=grid)

    return JudgedLabels((path,), read, partial(names_of, path))


def _merged(
    case: str, masks: Masks, scheme: LabelScheme, overlap: Policy, _grid: Grid | None
) -> LabelMap:
    notes = Notes()
    labels, _report = labels_of(case, masks, scheme, overlap, {}, notes)
    for _case, said in notes.lines:
        warn(f"{case}: {said}", about=case)
    return labels.with_scheme(consecutive(scheme))


def paired(truths: Found, predictions: Found, where: tuple[Path, Path]) -> Found:
    """Case -> its prediction, by name; nnU-Net's _0000 behind either name is no part of it.

    Parameters
    ----------
    where : the paths of truths and predictions, for sentences.

    Raises
    ------
    DatasetError
        If no prediction is of any case, or two are of one.
    """
    if len(truths) == len(predictions) == 1:
        return dict(zip(truths, predictions.values(), strict=True))
    found: Found = {}
    strangers: list[str] = []
    names = {case_of(name, predictions): name for name in truths}
    for name, labels in predictions.items():
        case = names.get(name, case_of(name, truths))
        if case in found:
            raise DatasetError(f"more than one prediction in {where[1]} is of case {case}")
        if case in truths:
            found[case] = labels
        else:
            strangers.append(name)
    if not found:
        raise DatasetError(
            f"no prediction in {where[1]} has the name of a case in {where[0]}: predictions are "
            f"called {_some(predictions)}, cases {_some(truths)}"
        )
    if strangers:
        warn(f"predictions without a case are ignored: {_some(strangers)}")
    return found


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")


def one_scheme(truths: Found, predictions: Found) -> LabelScheme:
    """The scheme that all label maps are judged by: all names, or all numbers, of the truth.

    Where the truth has numbers alone, and the predictions name theirs, these names are taken.

    Raises
    ------
    DatasetError
        If some of the truth has names and some has numbers alone, or names contradict each other.
    """
    schemes = _known(truths, lambda labels: labels.names())
    named = [scheme for scheme in schemes.values() if scheme is not None]
    bare = [case for case, scheme in schemes.items() if scheme is None]
    if named and bare:
        raise DatasetError(
            f"the label map of {bare[0]} has numbers alone, others of the truth have names: write "
            'labels.json beside it, {"femur": 1, ...}'
        )
    predicted = _known(predictions, lambda labels: labels.names())
    masks = any(labels.are_masks for labels in (*truths.values(), *predictions.values()))
    if masks and (bare or None in predicted.values()):
        raise DatasetError(
            "on one side there are masks, which have names, and on the other numbers alone: write "
            'labels.json beside the label maps, {"femur": 1, ...}'
        )
    if None in predicted.values() and named:
        warn("predictions have numbers alone: the truth's names were taken for them")
        return _agreed(named, "predictions have", "the truth calls")
    if named:
        return _union(named)
    present = _known(truths, lambda labels: labels.read(None).present())
    numbers = sorted({number for some in present.values() for number in some})
    theirs = [scheme for scheme in predicted.values() if scheme is not None]
    if not theirs:
        return LabelScheme.numbered(numbers or [1])
    warn("the truth has numbers alone: the names of the predictions were taken for them")
    return _agreed(theirs, "the truth has", "predictions call").extended(numbers)


def _known(found: Found, what: Callable[[JudgedLabels], T]) -> dict[str, T]:
    """Something of all that can be read; why the others cannot is said when they are scored."""
    known: dict[str, T] = {}
    for case, labels in found.items():
        with suppress(CondyleError):
            known[case] = what(labels)
    return known


def _union(schemes: Sequence[LabelScheme]) -> LabelScheme:
    """All structures of several schemes; where two want one number, the later gets another."""
    labels, ignore = list(schemes[0].labels), schemes[0].ignore
    for scheme in dict.fromkeys(schemes[1:]):
        ignore = ignore or scheme.ignore
        known = matched(scheme, LabelScheme(tuple(labels)))
        for label in scheme.labels:
            if label.name not in known:
                taken = {one.id for one in labels} | {ignore}
                number = next(n for n in (label.id, *range(1, 65536)) if n not in taken)
                labels.append(Label(number, label.name, label.colour))
    if ignore in {label.id for label in labels}:
        raise DatasetError(
            f"label {ignore} is 'ignore' in one label map of the truth, a structure in another: "
            "number them alike"
        )
    return LabelScheme(tuple(labels), ignore)


def _agreed(schemes: Sequence[LabelScheme], who: str, others: str) -> LabelScheme:
    """What several schemes say of numbers, if none contradicts another."""
    found = _union(schemes)
    for scheme in dict.fromkeys(schemes):
        numbers, names = found.to_dict(), matched(scheme, found)
        for name, number in scheme.to_dict().items():
            if numbers[names[name]] != number:
                raise DatasetError(
                    f"{who} numbers alone, and {others} {name} label {number} in one file and "
                    f"{numbers[names[name]]} in another, or two structures {number}: write "
                    'labels.json, {"femur": 1, ...}, beside the numbers'
                )
    return found
