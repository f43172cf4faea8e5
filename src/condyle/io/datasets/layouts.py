"""Data set folders: nnU-Net raw, Medical Segmentation Decathlon, TotalSegmentator, pairs."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from condyle.core import Case, Dataset, Fold, LabelMap, LabelScheme, Volume
from condyle.core.merge import Policy, merge, scheme_of_names
from condyle.errors import CondyleError, DatasetError, MissingFile
from condyle.io.datasets.nnunet import write_nnunet, write_splits
from condyle.io.paths import find_scans, is_hidden, scan_name
from condyle.io.scans import read_channels, read_labels
from condyle.jobs.job import warn
from condyle.jobs.tables import text_of_cell

__all__ = ["is_dataset", "open_dataset", "read_patients", "write_nnunet", "write_splits"]


PAIRS = (("imagesTr", "labelsTr"), ("images", "labels"), ("scans", "masks"))
"""Names of the folders of scans and of label maps."""

TOTALSEGMENTATOR = {"ct": "CT", "mri": "MR"}
"""Base name of the scan in a TotalSegmentator case -> modality."""

LAYOUTS = (
    "nnU-Net or Decathlon (dataset.json, imagesTr, labelsTr), pairs of files with the same base "
    "name (images and labels, imagesTr and labelsTr, or scans and masks), and TotalSegmentator "
    "(CASE/ct.nii.gz and CASE/segmentations/*.nii.gz)"
)


def open_dataset(path: str | Path, *, overlap: Policy = "error") -> Dataset:
    """The data set in a folder, whichever of the known layouts it has; no scan is read yet.

    Beside the scans may lie `splits_final.json` (folds, in nnU-Net's form), `patients.csv`
    (columns case, patient) and, for pairs, `labels.json` ({"femur": 1, ...}). Without the last,
    the label maps of pairs are read once, to find their numbers. Images without a label map
    (imagesTs too) are cases whose label is None.

    Parameters
    ----------
    overlap : what a voxel claimed by two masks becomes, in the TotalSegmentator layout:
        ``background``, ``priority`` (the first name wins), or ``error`` when that case is read.

    Raises
    ------
    MissingFile, DatasetError
        If there is no such folder, or it has none of the layouts, or is empty.
    """
    root = Path(path)
    if root.is_file():
        raise DatasetError(f"{root} is a file: give the folder of a data set")
    if not root.is_dir():
        raise MissingFile(f"the data set folder {root} is not there")
    opener = _opener(root)
    if opener is None:
        raise DatasetError(f"{root} is not a data set; the known layouts are {LAYOUTS}")
    return opener(root, overlap)


def is_dataset(path: str | Path) -> bool:
    """Whether a folder has one of the known layouts; it may still be empty or wrong."""
    return Path(path).is_dir() and _opener(Path(path)) is not None


def _opener(root: Path) -> Callable[[Path, Policy], Dataset] | None:
    """What opens a folder of this layout; None if it has none that is known."""
    if (root / "dataset.json").is_file():
        return _described
    if any((root / images).is_dir() for images, _ in PAIRS):
        return _paired
    if any((folder / "segmentations").is_dir() for folder in _entries(root)):
        return _totalsegmentator
    return None


def _described(root: Path, _: Policy) -> Dataset:
    """A data set with a dataset.json: nnU-Net v2 and v1, Decathlon."""
    facts = _json(root / "dataset.json", dict)
    scheme = _scheme(root / "dataset.json", facts.get("labels"))
    named = facts.get("channel_names") or facts.get("modality") or {"0": "image"}
    if not isinstance(named, dict):
        raise DatasetError(f'{root / "dataset.json"}: write "channel_names": {{"0": "CT"}}')
    channels = cast(dict[str, Any], named)
    names = tuple(str(channels[key]) for key in sorted(channels, key=str))
    ending = str(facts.get("file_ending", ""))
    name = str(facts.get("name") or root.resolve().name)
    if "dataset" in facts:
        images, labels = _listed(root, facts["dataset"])
        return _dataset(root, name, images, labels, scheme, names)
    files = [
        file
        for folder in ("imagesTr", "imagesTs")
        for file in _scans(root / folder)
        if file.name.endswith(ending)
    ]
    if not files:
        raise DatasetError(
            f"{root} has a dataset.json but holds no cases: there are no {ending} scans in imagesTr"
        )
    labels = {scan_name(file): file for file in _scans(root / "labelsTr")}
    images = _by_case(root, files, labels, len(names))
    return _dataset(root, name, images, labels, scheme, names)


def _listed(root: Path, table: object) -> tuple[dict[str, list[Path]], dict[str, Path]]:
    """The scans and label maps that a dataset.json (nnU-Net v2) names case by case.

    As in nnU-Net, paths are relative to the data set, or absolute.
    """
    try:
        rows = cast(dict[str, Any], table).items()
        images = {case: [root / str(file) for file in row["images"]] for case, row in rows}
        labels = {case: root / str(row["label"]) for case, row in rows if row.get("label")}
    except (AttributeError, KeyError, TypeError) as error:
        raise DatasetError(
            f'{root / "dataset.json"}: write "dataset": {{"CASE": {{"images": ["scan.nii.gz"], '
            '"label": "labels.nii.gz"}}'
        ) from error
    for case, files in images.items():
        for file in (*files, labels.get(case, root)):
            if not file.exists():
                raise DatasetError(
                    f"{root / 'dataset.json'} names {file} for case {case}, which is not there"
                )
    return images, labels


def _by_case(
    root: Path, files: Sequence[Path], labels: Mapping[str, Path], channels: int
) -> dict[str, list[Path]]:
    """Case -> its files in the order of their channels (nnU-Net's CASE_0000, CASE_0001, ...).

    The number is a channel's unless a label map has the whole name, or there is no such channel.
    """
    cases: dict[str, dict[int, Path]] = {}
    for file in files:
        name = scan_name(file)
        found = re.fullmatch(r"(.+)_(\d{4})", name)
        if found and name not in labels and int(found[2]) < channels:
            case, channel = found[1], int(found[2])
        else:
            case, channel = name, -1
        if channel in cases.setdefault(case, {}):
            raise DatasetError(f"{root} holds more than one scan called {name}")
        cases[case][channel] = file
    for case, numbered in cases.items():
        missing = sorted(set(range(channels)) - set(numbered))
        if -1 not in numbered and missing:
            raise DatasetError(f"{root}: case {case} lacks its channel {case}_{missing[0]:04d}")
    return {case: [numbered[n] for n in sorted(numbered)] for case, numbered in cases.items()}


def _paired(root: Path, _: Policy) -> Dataset:
    """Two folders of files with the same base names."""
    images, labels = next((root / i, root / m) for i, m in PAIRS if (root / i).is_dir())
    maps = {scan_name(file): file for file in _scans(labels)}
    files = _scans(images)
    numbers = [re.fullmatch(r".+_(\d{4})", scan_name(f)) for f in files if scan_name(f) not in maps]
    channels = 1 + max((int(n[1]) for n in numbers if n and int(n[1]) < 10), default=0)
    cases = _by_case(root, files, maps, channels)
    if not cases:
        raise DatasetError(f"{images} holds no scans; the known layouts are {LAYOUTS}")
    if (root / "labels.json").is_file():
        scheme = _scheme(root / "labels.json", _json(root / "labels.json", dict))
    else:
        scheme = _scheme_found(root, [file for name, file in maps.items() if name in cases])
    names = tuple(f"image_{n}" for n in range(channels)) if channels > 1 else ("image",)
    return _dataset(root, root.resolve().name, cases, maps, scheme, names)


def _scheme_found(root: Path, files: Sequence[Path]) -> LabelScheme:
    """The scheme of label maps that come without one: their segments' names, or their numbers."""
    found: dict[str, int] = {}
    for file in files:
        for name, number in read_labels(file).scheme.to_dict().items():
            if found.setdefault(name, number) != number:
                raise DatasetError(
                    f"{root}: {name} is {found[name]} in one label map, {number} in {file.name}; "
                    'write labels.json, {"femur": 1, ...}, to say which'
                )
    if len(set(found.values())) < len(found):
        raise DatasetError(
            f"{root}: its label maps give one number several names ({found}); write labels.json, "
            '{"femur": 1, ...}, to say which'
        )
    return LabelScheme.of(found or {"label_1": 1})


class Masks(Mapping[str, LabelMap | Volume]):
    """A case's masks by name, each read when asked for: a hundred do not fit into memory."""

    def __init__(
        self, files: Mapping[str, Path], read: Callable[[Path], LabelMap | Volume] = read_labels
    ):
        self.files, self.read = dict(files), read

    @classmethod
    def within(cls, folder: Path) -> Masks:
        """The masks in a folder."""
        return cls({scan_name(file): file for file in _scans(folder)})

    def __getitem__(self, name: str) -> LabelMap | Volume:
        return self.read(self.files[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def _totalsegmentator(root: Path, overlap: Policy) -> Dataset:
    """A folder a case, with a scan and a folder of masks, which become one label map when read."""
    folders = [folder for folder in _entries(root) if (folder / "segmentations").is_dir()]
    scans: dict[str, list[Path]] = {}
    modalities: set[str] = set()
    for folder in folders:
        found = [file for file in _scans(folder) if scan_name(file) in TOTALSEGMENTATOR]
        if len(found) != 1:
            raise DatasetError(f"{folder} needs one ct.nii.gz or mri.nii.gz beside segmentations")
        scans[folder.name] = found
        modalities.add(TOTALSEGMENTATOR[scan_name(found[0])])
    labels = {folder.name: folder / "segmentations" for folder in folders}
    names = {name for masks in labels.values() for name in Masks.within(masks)}
    if not names:
        raise DatasetError(f"{root} holds no masks in its folders called segmentations")
    scheme = scheme_of_names(names)
    channel = modalities.pop() if len(modalities) == 1 else "image"
    merged = partial(_merged, overlap=overlap)
    return _dataset(root, root.resolve().name, scans, labels, scheme, (channel,), merged)


def _merged(folder: Path, scheme: LabelScheme, overlap: Policy) -> LabelMap:
    """One label map of a folder of masks; overlaps that are resolved are logged."""
    labels, report = merge(Masks.within(folder), scheme, overlap)
    if report.pairs:
        warn(f"{folder}: {report}")
    return labels


def _dataset(
    root: Path,
    name: str,
    images: Mapping[str, Sequence[Path]],
    labels: Mapping[str, Path],
    scheme: LabelScheme,
    channels: tuple[str, ...],
    read_label: Callable[..., LabelMap] = read_labels,
) -> Dataset:
    """The cases of scans and label maps matched by name; label maps without a scan are named."""
    orphans = sorted(set(labels) - set(images))
    if orphans:
        warn(
            f"{root}: {len(orphans)} label maps have no scan and are ignored: "
            f"{', '.join(orphans[:10])}"
        )
    table = root / "patients.csv"
    patients = read_patients(table) if table.is_file() else {}
    cases = tuple(
        Case(
            id=case,
            images=tuple(images[case]),
            label=labels.get(case),
            patient=patients.get(case, case),
            read_images=partial(_read_images, channels=channels),
            read_label=partial(read_label, scheme=scheme),
        )
        for case in sorted(images)
    )
    return Dataset(name, root, cases, scheme, _folds(root), channels)


def _read_images(paths: tuple[Path, ...], channels: tuple[str, ...]) -> tuple[Volume, ...]:
    """The channels of a case, as many as the data set names."""
    volumes = read_channels(paths)
    if len(volumes) != len(channels):
        raise DatasetError(
            f"{paths[0]} gives {len(volumes)} channels, the data set names {', '.join(channels)}"
        )
    return volumes


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden files; [] if it is not there."""
    return sorted(e for e in folder.iterdir() if not is_hidden(e)) if folder.is_dir() else []


def _scans(folder: Path) -> list[Path]:
    """The scans of a folder; [] if it is not there."""
    return [scan for scan in find_scans(folder) if scan != folder] if folder.is_dir() else []


def _scheme(path: Path, labels: object) -> LabelScheme:
    """The scheme of a table name -> number, or (nnU-Net v1, Decathlon) number -> name."""
    try:
        table = cast(dict[str, Any], labels).items()
        regions = [str(name) for name, number in table if isinstance(number, list)]
        if regions:
            raise DatasetError(
                f"{path}: {regions[0]} is a region of several labels, and Condyle trains on labels "
                "alone: give each structure a number of its own"
            )
        if all(str(key).isdigit() for key, _ in table):
            return LabelScheme.of({str(name): int(number) for number, name in table})
        return LabelScheme.of({name: int(number) for name, number in table})
    except DatasetError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        reason = f" ({error})" if isinstance(error, CondyleError) else ""
        raise DatasetError(
            f'{path}: its labels are not a table like {{"background": 0, "femur": 1}}{reason}'
        ) from error


def _json(path: Path, kind: type) -> Any:
    """What a JSON file holds, which must be of this kind."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path} is not a JSON file ({error})") from error
    if not isinstance(found, kind):
        raise DatasetError(f"{path} holds no {kind.__name__}")
    return found


def _folds(root: Path) -> tuple[Fold, ...]:
    """The folds of splits_final.json; () where there is none."""
    path = root / "splits_final.json"
    if not path.is_file():
        return ()
    try:
        return tuple(
            Fold(tuple(row["train"]), tuple(row["val"]), tuple(row.get("test", ())))
            for row in _json(path, list)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f'{path} is not a list of {{"train": [...], "val": [...]}}') from error


def read_patients(path: Path) -> dict[str, str]:
    """Case -> patient, of a table with these columns; a case without a patient is left out.

    Raises
    ------
    DatasetError
        If a column is not there.
    """
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream)
        if not {"case", "patient"} <= set(rows.fieldnames or ()):
            raise DatasetError(f"{path} needs the columns case and patient")
        pairs = [
            (text_of_cell(row["case"] or ""), text_of_cell(row["patient"] or "")) for row in rows
        ]
        return {case: patient for case, patient in pairs if patient}
