"""Several networks trained on the same folds, judged on the same patients, and set side by side."""

from __future__ import annotations

import gc
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from condyle.config import Comparison, Experiment
from condyle.core import Case, Dataset
from condyle.engines import EngineName, is_engine
from condyle.errors import (
    CondyleError,
    ConfigError,
    MissingExtra,
    OutputError,
    TrainingPaused,
    WeightsError,
)  # fmt: skip
from condyle.io import open_dataset, write_text
from condyle.jobs.job import warn
from condyle.jobs.outputs import Manifest
from condyle.jobs.progress import Tell, silent
from condyle.measure.evaluate import failed_case
from condyle.measure.likelihood import Likelihood
from condyle.measure.slices import score_slices
from condyle.networks import NetworkName
from condyle.report.comparison_page import write_comparison
from condyle.report.comparison_tables import Model, Place
from condyle.runs.record import environment, logged, read_csv
from condyle.prepare.splits import fold_of
from condyle.workflows.training.probabilities import read_likelihood
from condyle.workflows.training.train import train

__all__ = ["Trial", "compare", "trials"]


Row = dict[str, Any]

ABSENT = (MissingExtra, WeightsError)
"""What says that a model cannot be had on this machine, which is not the model's failure."""


@dataclass(frozen=True)
class Trial:
    """One training of a comparison: a model on a fold with a seed, and its run folder."""

    model: str
    experiment: Experiment
    folder: Path
    held_out: tuple[Case, ...]

    @property
    def finished(self) -> bool:
        """Whether the run was trained and judged to the end."""
        return Manifest(self.folder).holds("run")


def trials(asked: Comparison, dataset: Dataset, out: Path) -> list[Trial]:
    """All trainings of a comparison, all models on the first fold first.

    A run folder's name ends with the hash of all its settings and of its fold's cases: the same
    training is never made twice, and no other is taken for it.
    """
    found: list[Trial] = []
    for seed in asked.seeds:
        for number in asked.folds:
            for model in asked.models:
                experiment = asked.experiment(model, number, seed)
                _require_known(experiment.network.name)
                fold = fold_of(dataset, experiment)
                settings = experiment.model_dump(mode="json", exclude={"device", "dataset", "log"})
                told = json.dumps([settings, fold.train, fold.validation, fold.test])
                name = re.sub(r"[^\w.-]+", "-", experiment.network.name)
                digest = hashlib.sha256(told.encode()).hexdigest()[:10]
                folder = out / "runs" / f"{name}_fold{number}_seed{seed}_{digest}"
                found.append(Trial(model, experiment, folder, dataset.select(fold.test)))
    return found


def compare(asked: Comparison | Path, out: Path, *, tell: Tell = silent) -> list[Row]:
    """Train and judge all models, and write their tables and report.html; the main table's rows.

    Parameters
    ----------
    asked : the comparison, or its TOML file.
    out : folder for the runs, tables and report; an interrupted comparison goes on in it.

    A model whose packages or weights are not here is named as that and left out of statistics; one
    whose training fails has the worst figures for all patients of its fold.

    Raises
    ------
    ConfigError, DatasetError, SplitError
        If the settings of any model, the data set or a fold are wrong, before anything is trained.
    """
    out = Path(out)
    comparison = asked if isinstance(asked, Comparison) else Comparison.read(Path(asked))
    dataset = open_dataset(Path(comparison.dataset))
    planned = trials(comparison, dataset, out)
    _require_patients(planned)
    before = out / "comparison.json"
    if out.exists() and any(out.iterdir()) and not before.exists():
        raise OutputError(f"{out} holds something else: choose another --out")
    write_text(before, comparison.model_dump_json(indent=2) + "\n")
    with logged(out) as warnings:
        absent, failed = _trained(planned, tell)
        models = [
            Model(name, absent=absent[name])
            if name in absent
            else _judged(name, [trial for trial in planned if trial.model == name], failed)
            for name in comparison.models
        ]
        return write_comparison(
            models,
            Place(
                title=f"{len(models)} models on {dataset.name}",
                settings=json.loads(comparison.model_dump_json()),
                ends=comparison.ends,
                environment=environment(),
                warnings=warnings,
                cases={case.id: case for trial in planned for case in trial.held_out},
            ),
            out,
        )


def _require_patients(planned: list[Trial]) -> None:
    """Refuse folds that judge nobody, or somebody twice."""
    judged: dict[tuple[str, int], list[str]] = {}
    for trial in planned:
        if not trial.held_out:
            raise ConfigError(
                f"fold {trial.experiment.fold} holds no case out: there is nobody to compare on"
            )
        key = trial.model, trial.experiment.training.seed
        judged.setdefault(key, []).extend(case.id for case in trial.held_out)
    twice = sorted({name for names in judged.values() for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"case {twice[0]} is held out in more than one of the folds: a patient counts once; "
            "give folds that share no held-out case"
        )


def _require_known(name: str) -> None:
    """Refuse a network's name that means nothing."""
    if is_engine(name):
        EngineName.parse(name)
    elif name != "auto":
        NetworkName.parse(name)


def _part(tell: Tell, number: int, total: int, trial: Trial) -> Tell:
    """What tells of one training as a part of all."""
    experiment = trial.experiment
    where = f"{number + 1}/{total} {trial.model}, fold {experiment.fold}"
    return lambda stage, done, words: tell(f"{where}: {stage}", done, words)


def _trained(planned: list[Trial], tell: Tell) -> tuple[dict[str, str], dict[Path, str]]:
    """Train what is not trained yet; which models are not here, which run folders failed: why."""
    absent: dict[str, str] = {}
    failed: dict[Path, str] = {}
    for number, trial in enumerate(planned):
        if trial.finished or trial.model in absent:
            continue
        try:
            _train(trial, _part(tell, number, len(planned), trial))
        except ABSENT as error:
            absent[trial.model] = str(error)
            warn(f"{trial.model} is not here: {error}")
        except TrainingPaused:
            raise
        except CondyleError as error:
            failed[trial.folder] = str(error)
            warn(
                f"{trial.model} failed on fold {trial.experiment.fold}, which counts as the "
                f"worst for its patients: {error}"
            )
        gc.collect()  # a network and its optimizer hold each other
    return absent, failed


def _train(trial: Trial, tell: Tell) -> None:
    """Train and judge, going on with what was begun."""
    if trial.folder.exists() and not (trial.folder / "config.toml").is_file():
        shutil.rmtree(trial.folder)  # ours by its name, and nothing in it can be gone on with
    train(trial.experiment, trial.folder, resume=True, tell=tell)


def _judged(name: str, trials: list[Trial], failed: Mapping[Path, str]) -> Model:
    """A model with the figures of all its trainings."""
    model, likelihood = Model(name), Likelihood.none()
    for trial in trials:
        patients = {case.id: case.patient for case in trial.held_out}
        key: Row = {"fold": trial.experiment.fold, "seed": trial.experiment.training.seed}
        run: Row = {**key, "folder": str(trial.folder), "failed": failed.get(trial.folder, "")}
        if run["failed"]:
            rows, slices = _worst(trial.held_out)
        else:
            run |= json.loads((trial.folder / "run.json").read_text(encoding="utf-8"))
            rows, slices = (read_csv(trial.folder / f"{one}.csv") for one in ("metrics", "slices"))
            if (history := trial.folder / "history.csv").is_file():
                model.histories.append(read_csv(history))
            for count in read_likelihood(trial.folder).values():
                likelihood += count
            found = trial.folder / "predictions"
            model.predictions.update(
                {case: p for case in patients if (p := found / f"{case}.nii.gz").is_file()}
            )
        model.runs.append(run)
        for known, new in ((model.rows, rows), (model.slices, slices)):
            known.extend({**key, "patient": patients[row["case"]], **row} for row in new)
    return replace(model, likelihood=likelihood)


def _worst(cases: tuple[Case, ...]) -> tuple[list[Row], list[Row]]:
    """The figures of cases for which nothing was predicted, also slice by slice."""
    rows: list[Row] = []
    slices: list[Row] = []
    for case in cases:
        truth = case.labels()
        rows += [{"case": case.id, **row} for row in failed_case(truth)]
        slices += [{"case": case.id, **row} for row in score_slices(truth, truth.emptied())]
    return rows, slices
