"""nnU-Net in a process of its own: our data set and fold in, its model and label maps out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from condyle.core import Case, Dataset, Fold, LabelMap, LabelScheme, Volume
from condyle.core.relabel import consecutive, relabelled
from condyle.engines.names import CASCADE, NNUNET
from condyle.engines.process import Child, fitted, require
from condyle.errors import LabelError
from condyle.io import read_labels, write, write_nnunet
from condyle.jobs.job import Job
from condyle.prepare.splits import k_fold

__all__ = ["Before", "Space", "Start", "Trained", "predict", "train"]

ROOTS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
JOB = "train.json"
"""What nnU-Net was asked for, in the folder of a training."""
CHECKPOINTS = ("checkpoint_latest.pth", "checkpoint_final.pth")
LOWRES_FOLDS = 5
"""As nnU-Net has it: networks before a cascade, each for the cases that it has not seen."""


@dataclass(frozen=True)
class Space:
    """Where nnU-Net keeps its things: its three folders, and the number of our data set there.

    Parameters
    ----------
    folder : for what is not set in the environment.
    """

    folder: Path
    number: int
    roots: Mapping[str, Path]

    @classmethod
    def of(cls, folder: Path, given: Mapping[str, str]) -> Space:
        """That of the training that was begun in `folder`; or a new one, empty and ours alone."""
        if (found := cls.begun(folder, given)) is not None:
            if found.can_go_on:
                return found
            found.give_up()
        space = cls(folder, 0, _roots(folder, given))
        while True:
            space = replace(space, number=space._free_number())
            if space._claimed():
                return space

    @classmethod
    def begun(cls, folder: Path, given: Mapping[str, str]) -> Space | None:
        """That of the training that was begun in `folder`, if the three folders are the same."""
        roots = _roots(folder, given)
        try:
            job = json.loads((folder / JOB).read_text("utf-8"))
        except FileNotFoundError:
            return None
        space = cls(folder, job["dataset"], roots)
        return space if job.get("roots") == space.environment else None

    def _free_number(self) -> int:
        """The first that no data set has in any of the folders."""
        taken = {path.name[7:10] for root in self.roots.values() for path in root.glob("Dataset*")}
        return next(n for n in range(1, 1000) if f"{n:03d}" not in taken)

    def _claimed(self) -> bool:
        """Whether the number is ours from now on: another training may take it at this moment."""
        made: list[Path] = []
        for root in self.roots.values():
            try:
                (root / self.name).mkdir(parents=True)
            except FileExistsError:
                for folder in made:
                    folder.rmdir()
                return False
            made.append(root / self.name)
        return True

    @property
    def name(self) -> str:
        """Of our data set's folder."""
        return f"Dataset{self.number:03d}_condyle"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which nnU-Net finds its folders."""
        return {name: str(path.resolve()) for name, path in self.roots.items()}

    @property
    def can_go_on(self) -> bool:
        """Whether there is a training that was interrupted after an epoch."""
        folds = self.roots["nnUNet_results"].glob(f"{self.name}/*/fold_*")
        return any((fold / name).is_file() for fold in folds for name in CHECKPOINTS)

    def clear(self, *names: str) -> None:
        """Remove our data set from some of the folders; all that others put there stays."""
        for name in names:
            shutil.rmtree(self.roots[name] / self.name, ignore_errors=True)

    def give_up(self) -> None:
        """Remove our data set from all of the folders, so that another may have its number."""
        self.clear(*ROOTS)
        (self.folder / JOB).unlink(missing_ok=True)


def _roots(folder: Path, given: Mapping[str, str]) -> dict[str, Path]:
    """The folders that the environment names; within `folder` those that it does not."""
    return {name: Path(given.get(name) or folder / name.removeprefix("nnUNet_")) for name in ROOTS}


@dataclass(frozen=True)
class Start:
    """A trained model to start from.

    Parameters
    ----------
    model : its folder: plans.json, dataset.json, fold_0.
    configuration : of its plans.
    classes : our class, 1, 2, ..., -> those of the model that make it.
    """

    model: Path
    configuration: str
    classes: Mapping[int, Sequence[int]]


@dataclass(frozen=True)
class Before:
    """The network before a cascade's.

    Parameters
    ----------
    model : its folder.
    folds : that are averaged.
    """

    model: Path
    folds: Sequence[int]


@dataclass(frozen=True)
class Trained:
    """What nnU-Net made.

    Parameters
    ----------
    model : its folder: plans.json, dataset.json, fold_0.
    history : a row an epoch.
    predictions : of the held-out cases, in their data set's numbers.
    failed : the reason, for a case that has none.
    """

    model: Path
    history: list[dict[str, float]]
    predictions: dict[str, Path]
    failed: dict[str, str]
    parameters: int
    seconds: float
    seconds_a_case: float
    tensors: list[dict[str, str]]
    """A row a tensor of a model that it started from: kept, adapted or anew."""
    mirror: bool
    """Whether mirror images were looked at too, as nnU-Net does; not where a budget forbade it."""
    settings: Mapping[str, Any]
    """Our settings, by their dotted names, as its trainer had them."""
    engine: Mapping[str, Any]
    """What else its plans and its trainer had, in its own words."""
    before: Before | None = None
    """Of a cascade."""


def train(
    dataset: Dataset,
    fold: Fold,
    what: str,
    space: Space,
    out: Path,
    settings: Mapping[str, Any],
    job: Job,
    start: Start | None = None,
) -> Trained:
    """Export, plan, preprocess, train and predict the held-out cases into the folder `out`.

    A training that was interrupted goes on from its last epoch.

    Parameters
    ----------
    what : of `names.NNUNET`; not used with `start`.
    settings : device, seed, epochs, steps, budget (seconds), deadline (seconds since 1970), and
        `settings`: those that its trainer is given, by their dotted names.
    start : a model whose plans, network and weights are taken; then scans are turned to RAS axes,
        as it saw them, and validation cases are predicted as well.
    """
    maps = space.folder / "maps"
    try:
        environment = fitted(os.environ, settings["device"])
        child = Child("nnU-Net", "run_nnunet.py", space.folder, environment | space.environment,
                      require("nnunetv2"))  # fmt: skip
        asked: dict[str, Any]
        if space.can_go_on:
            asked = json.loads((space.folder / JOB).read_text("utf-8"))
        else:
            before = _lowres_folds(dataset, fold) if what == CASCADE else ()
            asked = {
                "do": "train",
                "dataset": space.number,
                "roots": space.environment,
                **_plan(what, start, dataset.scheme.is_sided()),
                "structures": list(LabelScheme(dataset.scheme.labels).names),
                "workers": int(environment["nnUNet_def_n_proc"]),
                "lowres_folds": len(before),
                "cases": export(dataset, fold, space, job, start is not None, before),
                "predictions": str(maps.resolve()),
                **settings,
            }
        done = child.run(asked, job)
    except BaseException:
        if not space.can_go_on:
            space.give_up()
        raise
    space.clear("nnUNet_raw", "nnUNet_preprocessed")
    folds = range(1, asked["lowres_folds"] + 1)
    return Trained(
        model=Path(done["model"]),
        history=done["history"],
        predictions=collected(maps, out, dataset.scheme, dataset.select(tuple(asked["cases"]))),
        failed=done["failed"],
        parameters=done["parameters"],
        seconds=done["seconds"],
        seconds_a_case=done["seconds_a_case"],
        tensors=done["tensors"],
        mirror=done["mirror"],
        settings=done["settings"],
        engine=done["engine"],
        before=Before(Path(done["lowres"]), folds) if folds else None,
    )


def _lowres_folds(dataset: Dataset, fold: Fold) -> tuple[Fold, ...]:
    """The folds of the networks before a cascade: its own cases, so that each is predicted once."""
    cases = dataset.select((*fold.train, *fold.validation))
    patients = {case.patient for case in cases}
    return k_fold(cases, min(LOWRES_FOLDS, len(patients)))


def _plan(what: str, start: Start | None, sided: bool) -> dict[str, Any]:
    """How its job says what is planned, or what it starts from."""
    if start is None:
        return {"planner": NNUNET[what].planner, "configuration": NNUNET[what].configuration}
    classes = {str(ours): list(theirs) for ours, theirs in start.classes.items()}
    model = {"model": str(start.model.resolve()), "classes": classes, "mirror": not sided}
    return {"configuration": start.configuration, "start": model}


def predict(
    model: Path, cases: Mapping[str, Sequence[Path]], folder: Path, scheme: LabelScheme, out: Path,
    *, device: str, mirror: bool, before: Before | None = None, job: Job,
) -> tuple[dict[str, Path], dict[str, str]]:  # fmt: skip
    """Label maps of scans by nnU-Net's own predictor; and the reason, for those that failed.

    Parameters
    ----------
    cases : base name -> its files, one a channel, in a format that nnU-Net reads.
    folder : for its job and what it says.
    scheme : of the labels 1, 2, ... in the model's order.
    before : of a cascade, whose network sees what this one found.
    """
    maps = folder / "maps"
    child = Child("nnU-Net", "run_nnunet.py", folder, fitted(os.environ, device),
                  require("nnunetv2"))  # fmt: skip
    files = {name: [str(Path(x).resolve()) for x in paths] for name, paths in cases.items()}
    done = child.run(
        {"do": "predict", "model": str(model.resolve()), "device": device, "mirror": mirror,
         "before": before and {"model": str(before.model.resolve()), "folds": list(before.folds)},
         "cases": files, "predictions": str(maps.resolve())},
        job,
    )  # fmt: skip
    return collected(maps, out, scheme, list(files)), done["failed"]


def export(
    dataset: Dataset, fold: Fold, space: Space, job: Job, turned: bool = False,
    others: Sequence[Fold] = (),
) -> dict[str, list[str]]:  # fmt: skip
    """Write our cases and our fold in nnU-Net's form; gives case -> files of those to predict.

    Parameters
    ----------
    turned : to RAS axes; then validation cases are predicted too.
    others : folds that stand behind ours.
    """
    scheme = consecutive(dataset.scheme)
    trained = (*fold.train, *fold.validation)
    where = space.roots["nnUNet_raw"] / space.name
    new_of = dict(zip(dataset.scheme.to_dict().values(), scheme.to_dict().values(), strict=True))

    def pairs() -> Iterator[tuple[str, tuple[Volume, ...], LabelMap | None]]:
        every: tuple[Case, ...] = dataset.select((*trained, *fold.test))
        for number, case in enumerate(every):
            job.progress("writing for nnU-Net", number, len(every), f"{number}/{len(every)}")
            if number < len(trained):
                channels, labels = case.pair()
                labels = relabelled(labels, new_of, scheme)
                if turned:
                    channels = tuple(volume.reoriented() for volume in channels)
                    labels = labels.reoriented()
                yield case.id, channels, labels
            else:
                channels = case.channels()
                yield case.id, tuple(v.reoriented() for v in channels) if turned else channels, None

    # nnU-Net wants a case to watch; it chooses nothing by it
    own = Fold(fold.train, fold.validation or fold.train[:1])
    write_nnunet(where, dataset.name, pairs(), scheme, dataset.channel_names, [own, *others])
    channels = len(dataset.channel_names)
    wanted = dict.fromkeys(fold.test, "imagesTs")
    wanted |= dict.fromkeys(fold.validation, "imagesTr") if turned else {}
    return {
        case: [str(where.resolve() / images / f"{case}_{n:04d}.nii.gz") for n in range(channels)]
        for case, images in wanted.items()
    }


def collected(
    maps: Path, out: Path, scheme: LabelScheme, cases: Sequence[Case] | Sequence[str]
) -> dict[str, Path]:
    """Put label maps numbered 1, 2, ... into `out`, in a scheme's numbers and the scan's axes."""
    written: dict[str, Path] = {}
    structures = LabelScheme(scheme.labels)
    for case in cases:
        name = case if isinstance(case, str) else case.id
        file = maps / f"{name}.nii.gz"
        if not file.is_file():
            continue
        labels = read_labels(file)
        strange = set(labels.present()) - set(range(1, len(structures) + 1))
        if strange:
            raise LabelError(f"{file} holds labels {sorted(strange)} that are not in the scheme")
        found = relabelled(labels, dict(enumerate(structures.ids, 1)), structures)
        if not isinstance(case, str):
            found = found.reoriented(case.image().grid.orientation)
        written[name] = write(found, out / file.name)
    shutil.rmtree(maps, ignore_errors=True)
    return written
