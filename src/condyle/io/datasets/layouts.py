"""Data set folders: nnU-Net raw, Medical Segmentation Decathlon, TotalSegmentator, pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from condyle.core import Case, Dataset, Fold, LabelMap, LabelScheme, Volume
from condyle.core.merge import Policy, merge, scheme_of_names
from condyle.errors import DatasetError, MissingFile
from condyle.io.datasets.channels import channels_in, files_by_case
from condyle.io.datasets.nnunet import write_nnunet, write_splits
from condyle.io.datasets.patients import patients_beside
from condyle.io.label_names import json_tree, scheme_of_table
from condyle.io.listing import Listing, list_scans, name_scans
from condyle.io.paths import ENDINGS, is_hidden, spelled
from condyle.io.pictures import COLOURS, as_channels, in_colour, is_picture
from condyle.io.scans import read_channels, read_labels
from condyle.jobs.job import warn

__all__ = ["is_dataset", "open_dataset", "write_nnunet", "write_splits"]


PAIRS = (("imagesTr", "labelsTr"), ("images", "labels"), ("scans", "masks"))
"""Names of the folders of scans and of label maps."""

TOTALSEGMENTATOR = {"ct": "CT", "mri": "MR"}
"""Base name of the scan in a TotalSegmentator case -> modality."""

PICTURES = tuple(ending for ending, kind in ENDINGS.items() if kind == "picture")

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
    facts = json_tree(root / "dataset.json", dict)
    scheme = scheme_of_table(root / "dataset.json", facts.get("labels"))
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
        found
        for folder in ("imagesTr", "imagesTs")
        for found in _scans(root / folder, ending=ending).items()
    ]
    if not files:
        raise DatasetError(
            f"{root} has a dataset.json but holds no cases: there are no {ending} scans in imagesTr"
        )
    labels = _scans(root / "labelsTr", labels=True)
    # a label map called knee_0000 says that these digits are no channel
    are_channels = channels_in([name for name, _ in files], labels) or not labels
    count = len(names) if are_channels else 0
    if count and ending in PICTURES:  # whose one file holds all channels
        count = max(channels_in([name for name, _ in files], labels), 1)
    images = files_by_case(root, files, labels, count)
    dataset = _dataset(root, name, images, labels, scheme, names)
    _compare_count(dataset, facts.get("numTraining"))
    return dataset


def _compare_count(dataset: Dataset, announced: object) -> None:
    """Warn if a data set's description says that there are more labelled cases, or fewer."""
    here = len(dataset.labelled())
    if isinstance(announced, int) and announced != here:
        warn(
            f"{dataset.root / 'dataset.json'} announces {announced} labelled cases (numTraining), "
            f"{here} are here: find what is missing, or correct the number"
        )


def _listed(root: Path, table: object) -> tuple[dict[str, list[Path]], dict[str, Path]]:
    """The scans and label maps that a dataset.json (nnU-Net v2) names case by case.

    As in nnU-Net, paths are relative to the data set, or absolute.
    """
    try:
        rows = cast(dict[str, Any], table).items()
        images = {spelled(case): [root / str(f) for f in row["images"]] for case, row in rows}
        labels = {spelled(case): root / str(row["label"]) for case, row in rows if row.get("label")}
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


def _paired(root: Path, _: Policy) -> Dataset:
    """Two folders of files with the same base names."""
    images, labels = next((root / i, root / m) for i, m in PAIRS if (root / i).is_dir())
    maps, files = _scans(labels, labels=True), _scans(images)
    channels = channels_in(files, maps)
    cases = files_by_case(root, list(files.items()), maps, channels)
    if not cases:
        raise DatasetError(f"{images} holds no scans; the known layouts are {LAYOUTS}")
    if (root / "labels.json").is_file():
        scheme = scheme_of_table(root / "labels.json", json_tree(root / "labels.json", dict))
    else:
        scheme = _scheme_found(root, [file for name, file in maps.items() if name in cases])
    names = tuple(f"image_{n}" for n in range(channels)) if channels > 1 else ("image",)
    seen = [file for case in cases.values() for file in case]
    if all(map(is_picture, seen)) and any(map(in_colour, seen)):
        names = COLOURS
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
        return cls(_scans(folder, labels=True))

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
        found = [name for name in _scans(folder) if name in TOTALSEGMENTATOR]
        if len(found) != 1:
            raise DatasetError(f"{folder} needs one ct.nii.gz or mri.nii.gz beside segmentations")
        scans[spelled(folder.name)] = [_scans(folder)[found[0]]]
        modalities.add(TOTALSEGMENTATOR[found[0]])
    labels = {spelled(folder.name): folder / "segmentations" for folder in folders}
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
    patients = patients_beside(table, list(images)) if table.is_file() else {}
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
    if volumes[0].grid.is_picture:
        volumes = as_channels(volumes, len(channels))
    if len(volumes) != len(channels):
        raise DatasetError(
            f"{paths[0]} gives {len(volumes)} channels, the data set names {', '.join(channels)}"
        )
    return volumes


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden files; [] if it is not there."""
    return sorted(e for e in folder.iterdir() if not is_hidden(e)) if folder.is_dir() else []


def _scans(folder: Path, labels: bool = False, ending: str = "") -> dict[str, Path]:
    """Name -> file of the scans (or label maps) of a folder; {} if it is not there.

    What was passed over, or has not the data set's ending, is said.
    """
    if not folder.is_dir():
        return {}
    found = list_scans(folder, labels)
    if folder in found.scans:
        raise DatasetError(
            f"{folder} holds the images of a DICOM scan: put each scan into a folder of its own"
        )
    others = [scan for scan in found.scans if not scan.name.endswith(ending)]
    passed = dict.fromkeys(others, f"not {ending}, as dataset.json says")
    Listing((), {**found.passed_over, **passed}).say(folder)
    return name_scans([scan for scan in found.scans if scan not in passed], labels)


def _folds(root: Path) -> tuple[Fold, ...]:
    """The folds of splits_final.json; () where there is none."""
    path = root / "splits_final.json"
    if not path.is_file():
        return ()
    try:
        rows = [(row["train"], row["val"], row.get("test", ())) for row in json_tree(path, list)]
        return tuple(Fold(*(tuple(map(spelled, part)) for part in parts)) for parts in rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f'{path} is not a list of {{"train": [...], "val": [...]}}') from error
