"""How far to trust each result: learnt on held-out cases, told of each scan without its truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from condyle.config import Planes
from condyle.core import LabelMap, Volume
from condyle.errors import ConfigError, MissingFile, UnreadableFile
from condyle.jobs.outputs import write_csv, write_text
from condyle.predict import Ensemble, Looking, Segmenter
from condyle.predict.runtimes.torch import TellPart, share_of, tell_nobody
from condyle.predict.segmenter import home_of
from condyle.predict.views import Flips
from condyle.prepare.crop import lengthwise
from condyle.quality.agreement import agreement, disputed, look_at
from condyle.quality.anatomy import Anatomy
from condyle.quality.calibration import Calibration, Expected, Signs
from condyle.quality.embedding import Bank, glance

__all__ = [
    "ENOUGH",
    "Looks",
    "Quality",
    "Seen",
    "assess",
    "load_quality",
    "seen_in",
    "sentence",
    "store_quality",
    "votes_of",
    "write_quality",
]

FORMAT = 1
NAME = "quality.json"

ENOUGH = 0.8
"""An expected Dice below this is flagged."""

Row = dict[str, Any]
Channels = tuple[Volume, ...]


@dataclass(frozen=True)
class Looks:
    """The ways of looking at a scan whose answers are compared.

    Parameters
    ----------
    planes, flips : see `condyle.predict.Looking`.
    also : the SHA-256 of the weights of the other members.
    """

    planes: Planes | None = None
    flips: Flips = "none"
    also: tuple[str, ...] = ()

    @classmethod
    def of(cls, ensemble: Ensemble, looking: Looking) -> Looks:
        """Those of an ensemble; a member that is in no folder is like no other."""
        others = tuple(_weights(one.folder) if one.folder else "" for one in ensemble.members[1:])
        return cls(looking.planes, looking.flips, others)


@dataclass(frozen=True, eq=False)
class Quality:
    """All that it takes to say how far a segmenter's answers can be trusted.

    Parameters
    ----------
    calibration : from signs to the expected Dice.
    anatomy : the rules of the training labels.
    bank : the training scans in the encoder's eyes.
    votes : how many answers a scan were compared.
    cases : the held-out cases that it was learnt on.
    looks : the ways in which these were looked at.
    """

    calibration: Calibration
    anatomy: Anatomy
    bank: Bank
    votes: int
    cases: tuple[str, ...]
    looks: Looks = Looks()


def votes_of(
    ensemble: Ensemble, channels: Channels, looking: Looking, tell: TellPart = tell_nobody
) -> tuple[LabelMap, list[LabelMap]]:
    """The joint answer for a scan, and the votes: what each member says in each plane.

    Of one look alone the votes are its answer, and that for the mirror image of the scan. Left
    and right change places in it, as they do in training; the answer is turned back with the
    names that have a side. Mirrored along other axes, a body is one that no network was shown:
    there is nothing to agree on.
    """
    if ensemble.looks(looking) > 1:
        answer, each = ensemble.look(channels, looking, None, each=True, tell=tell)
        return answer, list(each)
    answer = ensemble.segment(channels, looking, tell=share_of(tell, 0, 2))
    axis = answer.grid.turn_to("RAS").order[0]
    mirrored = tuple(x.with_array(np.ascontiguousarray(np.flip(x.array, axis))) for x in channels)
    turned = ensemble.segment(mirrored, looking, tell=share_of(tell, 1, 2))
    other = np.flip(turned.array, axis)
    swap = np.arange(max(ensemble.scheme.ids) + 1, dtype=other.dtype)
    for one, twin in ensemble.scheme.mirrored().items():
        swap[one] = twin
    votes = [answer, answer.with_array(np.ascontiguousarray(swap[other]))]
    return answer, votes


def assess(
    segmenter: Segmenter,
    quality: Quality,
    channels: Channels,
    labels: LabelMap,
    votes: Sequence[LabelMap],
    device: str = "auto",
) -> list[Row]:
    """How far to trust the answer for a scan: a row a structure.

    Parameters
    ----------
    segmenter, quality : of one run; see `load_quality`.
    channels, labels : the scan and the answer.
    votes : what was joined into the answer, as many as in calibrating.

    Returns
    -------
    Rows with structure, expected_dice, low and high (0 to 1; nan where a structure is absent as in
    some training scans, or has no calibration), flag ('look' or ''), reasons (sentences) and
    look_at: the slices on which the votes differ most, worst first, counted from 0 along the
    body as the scan's own array has them.

    Raises
    ------
    ConfigError
        If the votes are not as many as in calibrating.
    """
    if len(votes) != quality.votes:
        raise ConfigError(
            f"quality was calibrated with {quality.votes} votes a scan, here are {len(votes)}: "
            "segment in the same way, or run condyle quality again"
        )
    seen = seen_in(segmenter, quality.anatomy, quality.bank, channels, labels, votes, device)
    places = disputed(votes, lengthwise(labels.grid))
    rows: list[Row] = []
    for name in segmenter.scheme.names:
        expected = _expected(quality, name, seen.signs.get(name))
        reasons = _reasons(quality, seen, name, expected)
        if name not in seen.signs and places[name].any():
            reasons.append(f"{name} is in some of the answers that were compared, not in all")
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
        looks = found.get("looks")  # runs of before know one look alone
        quality = Quality(
            Calibration.from_dict(found["calibration"]),
            Anatomy.from_dict(found["anatomy"]),
            Bank.from_dict(found["bank"]),
            int(found["votes"]),
            tuple(found["cases"]),
            Looks(**looks | {"also": tuple(looks["also"])}) if looks else Looks(),
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
        "votes": quality.votes,
        "cases": list(quality.cases),
        "looks": asdict(quality.looks),
        "anatomy": quality.anatomy.to_dict(),
        "calibration": quality.calibration.to_dict(),
        "bank": quality.bank.to_dict(),
    }
    return write_text(home / NAME, json.dumps(found) + "\n")


def _weights(home: Path) -> str:
    """The SHA-256 of the weights, as their card has it (`Segmenter.load` proves it)."""
    card = json.loads((home / "segmenter.json").read_text(encoding="utf-8"))
    return str(card["sha256"])


@dataclass(frozen=True)
class Seen:
    """What can be seen of an answer without the truth.

    Parameters
    ----------
    signs : structure -> its signs, for those that the answer holds.
    broken : structure -> the rules that it breaks.
    distance : of the scan from the training set.
    """

    signs: dict[str, Signs]
    broken: dict[str, list[str]]
    distance: float


def seen_in(
    segmenter: Segmenter,
    anatomy: Anatomy,
    bank: Bank,
    channels: Channels,
    labels: LabelMap,
    votes: Sequence[LabelMap],
    device: str,
) -> Seen:
    """What can be seen of the answer for a scan and of the votes for it."""
    shared = agreement(votes)
    broken = anatomy.broken(labels)
    looked = glance(segmenter, channels, device)
    distance = bank.distance(looked.point)
    signs = {
        name: Signs(
            agreement=0.0 if np.isnan(shared[name]) else shared[name],
            confidence=looked.confidence[name],
            volume=ratio,
            distance=distance,
            rules=len(broken[name]),
        )
        for name, ratio in anatomy.volume_ratio(labels).items()
        if not np.isnan(ratio)
    }
    return Seen(signs, broken, distance)


def _expected(quality: Quality, name: str, signs: Signs | None) -> Expected:
    """The expected Dice; 0 where a structure that was never absent in training was not found."""
    unknown = Expected(float("nan"), float("nan"), float("nan"))
    if signs is not None:
        return quality.calibration.expect(name, signs) or unknown
    build = quality.anatomy.structures.get(name)
    return Expected(0.0, 0.0, 0.0) if build is not None and build.share == 1 else unknown


def _reasons(quality: Quality, seen: Seen, name: str, expected: Expected) -> list[str]:
    said: list[str] = []
    if expected.dice < ENOUGH and name in seen.signs:
        said.append(f"{name} has an expected Dice of {expected.dice:.2f}, below {ENOUGH:.2f}")
    said += seen.broken[name]
    if seen.distance > quality.bank.farthest:
        said.append(
            f"the scan is {seen.distance:.1f} times as far from the training scans as these "
            f"usually are from each other, and {quality.bank.farthest:.1f} times at the most"
        )
    return said
