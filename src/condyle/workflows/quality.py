"""Learning on held-out cases how far to trust a segmenter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from condyle.config.requests import QualityRequest
from condyle.core import Case, Dataset, LabelMap
from condyle.errors import ConfigError, DatasetError
from condyle.io import open_dataset
from condyle.jobs.job import Job, verb, warn
from condyle.measure.overlap import dice
from condyle.predict import Ensemble, InferenceOptions, Predictor, Segmenter
from condyle.prepare.splits import held_out
from condyle.quality.anatomy import Anatomy
from condyle.quality.assess import (
    Channels,
    Quality,
    compared_predictions,
    evidence_of,
    store_quality,
)
from condyle.quality.calibration import FEWEST, LEVEL, Calibration, Observation, Signs
from condyle.quality.degrade import DEGRADATIONS, degraded
from condyle.quality.embedding import TrainingEmbeddings, embed
from condyle.refine import refined
from condyle.runs.dataset import known_folders
from condyle.runs.folder import RunFolder

__all__ = ["CalibrationSummary", "observed", "quality", "trained_on", "variants"]


POINTS = 100
"""Training scans that distance is measured from, at the most."""

Row = dict[str, Any]


@dataclass(frozen=True)
class CalibrationSummary:
    """How well expected and true Dice agree: a row a structure."""

    rows: list[Row]


@verb
def quality(request: QualityRequest, job: Job) -> CalibrationSummary:
    """Calibrate on test cases how far to trust a run's segmenter, and store it with its weights.

    Cases and patients that were trained on are ignored. Each case is also damaged in several
    ways. What is compared (planes, mirror images, runs) `segment --quality` then wants as well.

    Returns
    -------
    A row a structure: patients, scans, the mean of their true Dice, and the mean width of the
    interval about the expected one.

    Raises
    ------
    DatasetError
        If there are test cases of fewer than ten patients.
    """
    run, dataset, device = request.run, request.dataset, request.device
    segmenter = Segmenter.load(run)
    members = (segmenter, *(Segmenter.load(other) for other in request.also))
    ensemble = Ensemble(tuple(each.member for each in members))
    predictor = Predictor(ensemble, InferenceOptions(request.planes, request.flips, device))
    home = _home(run, segmenter, dataset)
    cases = _held_out(members, home, dataset, request.fold)
    patients = {case.patient for case in cases}
    if len(patients) < FEWEST:
        raise DatasetError(
            f"a {LEVEL:.0%} interval needs held-out cases of {FEWEST} patients or more, and "
            f"{'the validation part of ' + str(run) if dataset is None else dataset} has "
            f"{len(patients)}: give a data set of labelled cases that were not trained on"
        )
    anatomy, embeddings = trained_on(segmenter, home, device, job)
    seen: list[Observation] = []
    predictions = 0
    for number, case in enumerate(job.track("calibrating", cases)):
        for _, channels, truth in variants(case, (request.seed, number), request.worse):
            labels, compared = compared_predictions(predictor, channels)
            labels, predictions = refined(labels, segmenter.refinement), len(compared)
            found = evidence_of(segmenter, anatomy, embeddings, channels, labels, compared, device)
            seen += observed(case.patient, truth, labels, found.signs)
    made = Quality(
        Calibration.fit(seen),
        anatomy,
        embeddings,
        predictions,
        tuple(case.id for case in cases),
        ensemble.signature(predictor.options),
    )
    store_quality(run, segmenter, made)
    return CalibrationSummary(_summary(made, seen))


def variants(
    case: Case, seed: Sequence[int], worse: int = len(DEGRADATIONS)
) -> Iterator[tuple[str, Channels, LabelMap]]:
    """A case as it is, then made worse so many times: name, channels and truth of each."""
    channels, truth = case.pair()
    yield "as it is", channels, truth
    rng = np.random.default_rng(seed)
    for name in rng.permutation(DEGRADATIONS)[:worse]:
        changed, cut = degraded(str(name), channels, truth, rng)
        yield str(name), changed, cut


def observed(
    patient: str, truth: LabelMap, labels: LabelMap, signs: dict[str, Signs]
) -> list[Observation]:
    """The signs of each structure that was found, with the Dice that it truly had."""
    known = truth.known()
    truth, labels = truth.within(known), labels.within(known)
    return [
        Observation(patient, name, mine, dice(truth.mask(name), labels.mask(name)))
        for name, mine in signs.items()
        if name in truth.scheme.names
    ]


def _home(run: Path, segmenter: Segmenter, given: Path | None) -> Dataset:
    """The data set that holds the cases trained on."""
    named = known_folders(RunFolder(Path(run)))
    trained = set(segmenter.training.train)
    for path in [*named, *([given] if given is not None else [])]:
        if path.is_dir():
            dataset = open_dataset(path)
            if trained and trained <= {case.id for case in dataset.labelled()}:
                return dataset
    places = ", ".join(map(str, named)) or "a run folder's config.toml"
    raise DatasetError(
        f"the cases that {run} was trained on are not in {places}: quality compares scans with "
        "them; bring that data set back, or give one that holds them too"
    )


def _held_out(
    members: Sequence[Segmenter], home: Dataset, given: Path | None, fold: int | None
) -> tuple[Case, ...]:
    """Labelled cases of which no scan, and no other scan of the patient, was trained on."""
    trained = {case for one in members for case in one.training.train}
    training = [case for case in home.cases if case.id in trained]
    if given is None:
        if fold is not None:
            raise ConfigError("`fold` needs a `dataset`, whose fold it is")
        dataset, cases = home, home.select(members[0].training.validation)
    else:
        dataset = open_dataset(given)
        cases = dataset.labelled() if fold is None else held_out(dataset, fold)
    known = {case.id for case in training}
    patients = {case.patient for case in training}
    if dataset.root.resolve() != home.root.resolve():
        patients = set[str]()  # another data set may call its own patients so
    left = tuple(x for x in cases if x.id not in known and x.patient not in patients)
    if len(left) < len(cases):
        warn(
            f"{len(cases) - len(left)} cases of {given or home.root} were trained on and are left "
            "out"
        )
    return left


def trained_on(
    segmenter: Segmenter, home: Dataset, device: str, job: Job
) -> tuple[Anatomy, TrainingEmbeddings]:
    """The rules of the training labels, and the embeddings of training scans."""
    cases = home.select(segmenter.training.train)
    label_maps = (case.labels() for case in job.track("training labels", cases))
    anatomy = Anatomy.of((x.within(x.known()) for x in label_maps), segmenter.scheme)
    chosen = cases[:: -(-len(cases) // POINTS)]
    scans = job.track("training scans", chosen)
    points = [embed(segmenter, case.channels(), device).point for case in scans]
    return anatomy, TrainingEmbeddings.of(np.stack(points))


def _summary(quality: Quality, seen: Sequence[Observation]) -> list[Row]:
    rows: list[Row] = []
    for name in quality.calibration.curves:
        mine = [x for x in seen if x.structure == name and not np.isnan(x.dice)]
        found = [quality.calibration.expect(name, x.signs) for x in mine]
        rows.append(
            {
                "structure": name,
                "patients": len({x.patient for x in mine}),
                "scans": len(mine),
                "true Dice": float(np.mean([x.dice for x in mine])),
                "width of interval": float(np.mean([x.high - x.low for x in found if x])),
            }
        )
    return rows
