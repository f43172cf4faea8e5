"""A data set folder that nnU-Net v2 trains on as it stands."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from condyle.core import Fold, LabelMap, LabelScheme, Volume
from condyle.errors import CondyleError, DatasetError, LabelError, OutputError
from condyle.io.scans import write
from condyle.jobs.outputs import write_text

__all__ = ["splits_json", "write_nnunet", "write_splits"]

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
    out = Path(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise OutputError(f"{out} is not empty: choose a new folder for the data set")
    numbers = [entry.id for entry in scheme.entries]
    if numbers != list(range(1, len(numbers) + 1)):
        raise LabelError(
            f"nnU-Net needs labels numbered 1 to {len(numbers)}, 'ignore' last, the scheme has "
            f"{scheme.to_dict()}"
        )
    building = out.with_name(f".{out.name[:100]}-{secrets.token_hex(4)}")
    try:
        building.mkdir(parents=True)
        labelled, channels = _write_cases(building, pairs, scheme)
        names = channel_names() if callable(channel_names) else channel_names
        if len(names) != channels:
            raise DatasetError(f"the cases have {channels} channels, named are {', '.join(names)}")
        if folds:
            write_splits(building / "splits_final.json", folds)
        for file, text in beside().items():
            write_text(building / file, text)
        facts = {
            "name": name,
            "channel_names": {str(n): channel for n, channel in enumerate(names)},
            "labels": {"background": 0, **scheme.to_dict()},
            "numTraining": labelled,
            "file_ending": ".nii.gz",
        }
        write_text(building / "dataset.json", json.dumps(facts, indent=1) + "\n")
        if out.is_dir():
            out.rmdir()
        os.replace(building, out)  # noqa: PTH105  Path.replace is the same call, less known as atomic
    except CondyleError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{out} could not be written ({reason}); nothing was changed") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return out


def _write_cases(folder: Path, pairs: Pairs, scheme: LabelScheme) -> tuple[int, int]:
    """Write scans and label maps; gives back how many label maps and how many channels a case."""
    seen: set[str] = set()
    channels = labelled = 0
    for case, volumes, labels in pairs:
        if not case or case != Path(case).name or case.startswith("."):
            raise DatasetError(f"{case!r} cannot be a case: its name becomes a file's name")
        if case in seen:
            raise DatasetError(f"there is more than one case called {case}")
        channels = channels or len(volumes)
        if len(volumes) != channels:
            raise DatasetError(f"case {case} has {len(volumes)} channels, others {channels}")
        seen.add(case)
        for other in volumes[1:]:
            volumes[0].grid.require_same(other.grid, f"the channels of case {case}")
        if labels is not None:
            volumes[0].grid.require_same(labels.grid, f"scan and labels of case {case}")
            labels.with_scheme(scheme).require_known(f"case {case}")
            write(labels, folder / "labelsTr" / f"{case}.nii.gz")
            labelled += 1
        for n, volume in enumerate(volumes):
            images = "imagesTs" if labels is None else "imagesTr"
            write(volume, folder / images / f"{case}_{n:04d}.nii.gz")
    if not seen:
        raise DatasetError("there are no cases to write")
    return labelled, channels
