"""How far to trust each result: calibrated on test cases, estimated for new scans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from condyle.core import LabelMap, Volume
from condyle.errors import ConfigError, MissingFile, UnreadableFile
from condyle.jobs.outputs import write_csv, write_text
from condyle.predict import Predictor, Segmenter
from condyle.predict.passes import PartProgress, no_progress, share_of
from condyle.predict.segmenter import home_of
from condyle.prepare.crop import lengthwise
from condyle.quality.agreement import agreement, disputed, look_at
from condyle.quality.anatomy import Anatomy
from condyle.quality.calibration import Calibration, Expected, Signs
from condyle.quality.embedding import TrainingEmbeddings, embed

__all__ = [
    "ENOUGH",
    "SINGLE",
    "Evidence",
    "Quality",
    "assess",
    "compared_predictions",
    "evidence_of",
    "load_quality",
    "sentence",
    "store_quality",
    "write_quality",
]

FORMAT = 2
NAME = "quality.json"

ENOUGH = 0.8
"""An expected Dice below this is flagged."""
SINGLE: dict[str, Any] = {"planes": None, "mirroring": "none", "also": []}
"""The signature of one segmenter that predicts as it was trained."""

Row = dict[str, Any]
Channels = tuple[Volume, ...]


@dataclass(frozen=True, eq=False)
class Quality:
    """All that it takes to say how far a segmenter's label maps can be trusted.

    Parameters
    ----------
    calibration : from signs to the expected Dice.
    anatomy : the rules of the training labels.
    embeddings : of the training scans.
    predictions : how many of each scan were compared.
    cases : the held-out cases that it was calibrated on.
    signature : which predictions were compared: see `condyle.predict.Ensemble.signature`.
    """

    calibration: Calibration
    anatomy: Anatomy
    embeddings: TrainingEmbeddings
    predictions: int
    cases: tuple[str, ...]
    signature: dict[str, Any] = field(default_factory=lambda: dict(SINGLE))


def compared_predictions(
    predictor: Predictor, channels: Channels, progress: PartProgress = no_progress
) -> tuple[LabelMap, list[LabelMap]]:
    """The labels of a scan, and the predictions that are compared: of each member in each plane.

    Of one prediction alone they are that, and that for the mirror image of the scan. Left and
    right change places in it, as they do in training; it is turned back with the names that have
    a side. Mirrored along other axes, a body is one that no network was trained on: there is
    nothing to agree on.
    """
    if predictor.ensemble.predictions(predictor.options) > 1:
        found = predictor.predict(channels, each=True, progress=progress)
        return found.labels, list(found.members)
    labels = predictor.predict(channels, progress=share_of(progress, 0, 2)).labels
    axis = labels.grid.turn_to("RAS").order[0]
    mirrored = tuple(x.with_array(np.ascontiguousarray(np.flip(x.array, axis))) for x in channels)
    turned = predictor.predict(mirrored, progress=share_of(progress, 1, 2)).labels
    other = np.flip(turned.array, axis)
    swap = np.arange(max(labels.scheme.ids) + 1, dtype=other.dtype)
    for one, opposite in labels.scheme.mirrored().items():
        swap[one] = opposite
    return labels, [labels, labels.with_array(np.ascontiguousarray(swap[other]))]


def assess(
    segmenter: Segmenter,
    quality: Quality,
    channels: Channels,
    labels: LabelMap,
    predictions: Sequence[LabelMap],
    device: str = "auto",
) -> list[Row]:
    """How far to trust the label map of a scan: a row a structure.

    Parameters
    ----------
    segmenter, quality : of one run; see `load_quality`.
    channels, labels : the scan and its label map.
    predictions : what was averaged into the label map, as many as in calibrating.

    Returns
    -------
    Rows with structure, expected_dice, low and high (0 to 1; nan where a structure is absent as in
    some training scans, or has no calibration), flag ('look' or ''), reasons (sentences) and
    look_at: the slices on which the predictions differ most, worst first, counted from 0 along the
    body as the scan's own array has them.

    Raises
    ------
    ConfigError
        If the predictions are not as many as in calibrating.
    """
    if len(predictions) != quality.predictions:
        raise ConfigError(
            f"quality was calibrated on {quality.predictions} predictions per scan, here are "
            f"{len(predictions)}: segment in the same way, or run condyle quality again"
        )
    evidence = evidence_of(
        segmenter, quality.anatomy, quality.embeddings, channels, labels, predictions, device
    )
    places = disputed(predictions, lengthwise(labels.grid))
    rows: list[Row] = []
    for name in segmenter.scheme.names:
        expected = _expected(quality, name, evidence.signs.get(name))
        reasons = _reasons(quality, evidence, name, expected)
        if name not in evidence.signs and places[name].any():
            reasons.append(f"{name} is in some of the predictions that were compared, not in all")
        slices = [f"{a}-{b}" if b > a else str(a) for a, b in look_at(places[name])]
        rows.append(
            {
                "structure": name,
                "expected_dice": round(expected.dice, 3),
                "low": round(expected.low, 3),
                "high": round(expected.high, 3),
                "flag": "look" if reasons else "",
                "reasons": "; ".join(reasons),
                "look_at": " ".join(slices),
            }
        )
    return rows


def sentence(scan: str, rows: Sequence[Row]) -> str:
    """What to tell of a scan on one line; '' where nothing was flagged."""
    flagged = [row for row in rows if row["flag"]]
    if not flagged:
        return ""
    reasons = dict.fromkeys(reason for row in flagged for reason in row["reasons"].split("; "))
    slices = [f"{row['structure']} in slices {row['look_at']}" for row in flagged if row["look_at"]]
    first = f" (look first at {', '.join(slices)})" if slices else ""
    return f"{scan}: {'; '.join(reasons)}{first}"


def write_quality(out: Path, rows: Sequence[Row]) -> Path:
    """Write `quality.csv` into a folder, a row a scan and structure; gives back its path."""
    return write_csv(Path(out) / "quality.csv", rows)


def load_quality(run: Path, segmenter: Segmenter) -> Quality:
    """What `calibrate` stored with a run's segmenter.

    Raises
    ------
    MissingFile
        If it was never calibrated.
    ConfigError
        If it was, with other weights, or other steps of cleaning.
    """
    home = home_of(run)
    path = home / NAME
    if not path.is_file():
        raise MissingFile(f"{run} was not calibrated: run `condyle quality {run}` first")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise UnreadableFile(f"{path} was written by another version of Condyle")
        belongs = (found["weights"], found["refinement"])
        quality = Quality(
            Calibration.from_dict(found["calibration"]),
            Anatomy.from_dict(found["anatomy"]),
            TrainingEmbeddings.from_dict(found["embeddings"]),
            int(found["predictions"]),
            tuple(found["cases"]),
            dict(found["signature"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableFile(f"{path} is damaged ({error}): run condyle quality again") from error
    if belongs != (_weights(home), segmenter.refinement):
        raise ConfigError(
            f"{path} belongs to other weights or other cleaning steps than those of {run}: run "
            f"`condyle quality {run}` again"
        )
    return quality


def store_quality(run: Path, segmenter: Segmenter, quality: Quality) -> Path:
    """Write `quality.json` beside a run's weights, with their hash; gives back its path."""
    home = home_of(run)
    found = {
        "format": FORMAT,
        "weights": _weights(home),
        "refinement": segmenter.refinement,
        "predictions": quality.predictions,
        "cases": list(quality.cases),
        "signature": quality.signature,
        "anatomy": quality.anatomy.to_dict(),
        "calibration": quality.calibration.to_dict(),
        "embeddings": quality.embeddings.to_dict(),
    }
    return write_text(home / NAME, json.dumps(found) + "\n")


def _weights(home: Path) -> str:
    """The SHA-256 of the weights, as their card has it (`Segmenter.load` proves it)."""
    card = json.loads((home / "segmenter.json").read_text(encoding="utf-8"))
    return str(card["sha256"])


@dataclass(frozen=True)
class Evidence:
    """What tells how good a label map is, without the truth.

    Parameters
    ----------
    signs : structure -> its signs, for those that the label map holds.
    broken : structure -> the rules that it breaks.
    distance : of the scan from the training set.
    """

    signs: dict[str, Signs]
    broken: dict[str, list[str]]
    distance: float


def evidence_of(
    segmenter: Segmenter,
    anatomy: Anatomy,
    embeddings: TrainingEmbeddings,
    channels: Channels,
    labels: LabelMap,
    predictions: Sequence[LabelMap],
    device: str,
) -> Evidence:
    """What a scan, its label map and the predictions for it tell of its quality."""
    shared = agreement(predictions)
    broken = anatomy.broken(labels)
    embedding = embed(segmenter, channels, device)
    distance = embeddings.distance(embedding.point)
    signs = {
        name: Signs(
            agreement=0.0 if np.isnan(shared[name]) else shared[name],
            confidence=embedding.confidence[name],
            volume=ratio,
            distance=distance,
            rules=len(broken[name]),
        )
        for name, ratio in anatomy.volume_ratio(labels).items()
        if not np.isnan(ratio)
    }
    return Evidence(signs, broken, distance)


def _expected(quality: Quality, name: str, signs: Signs | None) -> Expected:
    """The expected Dice; 0 where a structure that was never absent in training was not found."""
    unknown = Expected(float("nan"), float("nan"), float("nan"))
    if signs is not None:
        return quality.calibration.expect(name, signs) or unknown
    build = quality.anatomy.structures.get(name)
    return Expected(0.0, 0.0, 0.0) if build is not None and build.share == 1 else unknown


def _reasons(quality: Quality, evidence: Evidence, name: str, expected: Expected) -> list[str]:
    said: list[str] = []
    if expected.dice < ENOUGH and name in evidence.signs:
        said.append(f"{name} has an expected Dice of {expected.dice:.2f}, below {ENOUGH:.2f}")
    said += evidence.broken[name]
    if evidence.distance > quality.embeddings.farthest:
        said.append(
            f"the scan is {evidence.distance:.1f} times as far from the training scans as these "
            f"usually are from each other, and {quality.embeddings.farthest:.1f} times at the most"
        )
    return said
