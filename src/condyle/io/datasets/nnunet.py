"""A data set folder that nnU-Net v2 trains on as it stands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from condyle.core import Fold, LabelMap, LabelScheme, Volume
from condyle.errors import DatasetError, LabelError
from condyle.io.scans import write, write_channels
from condyle.jobs.outputs import atomic_folder, write_text

__all__ = [
    "require_numbered",
    "splits_json",
    "write_case",
    "write_facts",
    "write_nnunet",
    "write_splits",
]

Pairs = Iterable[tuple[str, tuple[Volume, ...], LabelMap | None]]


def splits_json(folds: Sequence[Fold]) -> str:
    """The text of nnU-Net's splits_final.json, with a test part where a fold has one."""
    rows = [
        {"train": list(fold.train), "val": list(fold.validation)}
        | ({"test": list(fold.test)} if fold.test else {})
        for fold in folds
    ]
    return json.dumps(rows, indent=1) + "\n"


def write_splits(path: str | Path, folds: Sequence[Fold]) -> Path:
    """Write folds as nnU-Net's splits_final.json."""
    return write_text(Path(path), splits_json(folds))


def write_nnunet(
    out: str | Path,
    name: str,
    pairs: Pairs,
    scheme: LabelScheme,
    channel_names: Sequence[str] | Callable[[], Sequence[str]],
    folds: Sequence[Fold] = (),
    beside: Callable[[], Mapping[str, str]] = dict,
) -> Path:
    """Write a data set in nnU-Net's raw form (v2); gives back its folder, whole or not at all.

    Parameters
    ----------
    out : the new folder; it may be there if it is empty.
    pairs : case id, channels and label map, taken one by one. Cases without a label map go into
        imagesTs, since nnU-Net wants a label for each image in imagesTr.
    channel_names : one a channel; 'CT' makes nnU-Net clip and scale as for CT. Where it is not
        known before the cases were seen, what gives it; it is asked after the last case.
    beside : gives file name -> text of what lies beside dataset.json; asked after the last case.

    Raises
    ------
    LabelError
        If the labels are not numbered 1, 2, 3, ..., which nnU-Net needs.
    GridMismatch, DatasetError, OutputError
        If a scan and its labels differ in grid, a case is wrong, or `out` is not empty.
    """
    require_numbered(scheme)
    with atomic_folder(Path(out)) as building:
        labelled, channels = _write_cases(building, pairs, scheme)
        names = channel_names() if callable(channel_names) else channel_names
        write_facts(building, name, names, channels, scheme, labelled, folds, beside())
    return Path(out)


def require_numbered(scheme: LabelScheme) -> None:
    """Raise `LabelError` if structures are not numbered 1, 2, 3, ..., which nnU-Net needs."""
    numbers = [entry.id for entry in scheme.entries]
    if numbers != list(range(1, len(numbers) + 1)):
        raise LabelError(
            f"nnU-Net needs labels numbered 1 to {len(numbers)}, 'ignore' last, the scheme has "
            f"{scheme.to_dict()}"
        )


def write_facts(
    folder: Path,
    name: str,
    channel_names: Sequence[str],
    channels: int,
    scheme: LabelScheme,
    labelled: int,
    folds: Sequence[Fold] = (),
    beside: Mapping[str, str] | None = None,
    pictures: bool = False,
) -> list[Path]:
    """Write what lies beside the cases: folds, other files, and last dataset.json.

    Parameters
    ----------
    pictures : whether the cases are pictures, of which one file holds all channels.
    """
    if len(channel_names) != channels:
        listed = ", ".join(channel_names)
        raise DatasetError(f"the cases have {channels} channels, named are {listed}")
    written = [write_splits(folder / "splits_final.json", folds)] if folds else []
    written += [write_text(folder / file, text) for file, text in (beside or {}).items()]
    facts = {
        "name": name,
        "channel_names": {str(n): channel for n, channel in enumerate(channel_names)},
        "labels": {"background": 0, **scheme.to_dict()},
        "numTraining": labelled,
        "file_ending": ".png" if pictures else ".nii.gz",
        **({"overwrite_image_reader_writer": "NaturalImage2DIO"} if pictures else {}),
    }
    text = json.dumps(facts, indent=1) + "\n"
    return [*written, write_text(folder / "dataset.json", text)]


def write_case(
    folder: Path,
    case: str,
    volumes: tuple[Volume, ...],
    labels: LabelMap | None,
    scheme: LabelScheme,
) -> list[Path]:
    """Write one case's channels and labels; gives the files.

    Raises
    ------
    GridMismatch, LabelError, DatasetError
        If its channels or labels differ in grid, a number is not in the scheme, or its name cannot
        be a file's.
    """
    if not case or case != Path(case).name or case.startswith("."):
        raise DatasetError(f"{case!r} cannot be a case: its name becomes a file's name")
    for other in volumes[1:]:
        volumes[0].grid.require_same(other.grid, f"the channels of case {case}")
    images = folder / ("imagesTs" if labels is None else "imagesTr")
    if volumes[0].grid.is_picture:
        return _write_picture(folder, case, volumes, labels, scheme, images)
    written: list[Path] = []
    if labels is not None:
        volumes[0].grid.require_same(labels.grid, f"scan and labels of case {case}")
        labels.with_scheme(scheme).require_known(f"case {case}")
        written.append(write(labels, folder / "labelsTr" / f"{case}.nii.gz"))
    for n, volume in enumerate(volumes):
        written.append(write(volume, images / f"{case}_{n:04d}.nii.gz"))
    return written


def _write_picture(
    folder: Path,
    case: str,
    channels: tuple[Volume, ...],
    labels: LabelMap | None,
    scheme: LabelScheme,
    images: Path,
) -> list[Path]:
    """Write a picture with all its channels in one file, and its labels as plain numbers.

    nnU-Net reads no palettes.
    """
    written: list[Path] = []
    if labels is not None:
        channels[0].grid.require_same(labels.grid, f"picture and labels of case {case}")
        labels.with_scheme(scheme).require_known(f"case {case}")
        bare = labels.with_scheme(LabelScheme.numbered(scheme.ids))
        written.append(write(bare, folder / "labelsTr" / f"{case}.png"))
    return [*written, write_channels(channels, images / f"{case}_0000.png")]


def _write_cases(folder: Path, pairs: Pairs, scheme: LabelScheme) -> tuple[int, int]:
    """Write scans and label maps; gives back how many label maps and how many channels a case."""
    seen: set[str] = set()
    channels = labelled = 0
    for case, volumes, labels in pairs:
        if case in seen:
            raise DatasetError(f"there is more than one case called {case}")
        channels = channels or len(volumes)
        if len(volumes) != channels:
            raise DatasetError(f"case {case} has {len(volumes)} channels, others {channels}")
        seen.add(case)
        write_case(folder, case, volumes, labels, scheme)
        labelled += labels is not None
    if not seen:
        raise DatasetError("there are no cases to write")
    return labelled, channels
