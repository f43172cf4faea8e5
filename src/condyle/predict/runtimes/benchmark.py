"""How fast the backends of a network are, and whether their labels are PyTorch's in float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condyle.errors import CondyleError
from condyle.jobs.job import warn
from condyle.predict.runtimes.runtime import Runtime

__all__ = ["BackendBenchmark", "agreement", "benchmark", "fastest"]


SAME, DICE = 0.999, 0.998
"""Part of the foreground voxels, and Dice of each structure, that must agree."""
ENOUGH = 1000
"""Foreground voxels that are needed to tell whether labels agree."""
NEARLY = 1e-3
"""With fewer of them: how far probabilities in float32 may be apart."""
PATIENCE = 6.0
"""Seconds that PyTorch may take for the samples; of more samples, some are left out."""
START = 5.0
"""Seconds, about, to convert a network for OpenVINO."""
BRIEF, TIMES = 0.5, 3
"""Seconds below which a time is taken again, and how many times at the most."""
GAIN = 2.0
"""A benchmark must not take more than 1 / GAIN of the time that PyTorch takes for all voxels."""


@dataclass(frozen=True)
class BackendBenchmark:
    """How fast a backend is, and how far it agrees with the reference.

    Parameters
    ----------
    name : of the backend, 'openvino fp32' say.
    start : seconds until it could begin.
    pace : seconds for a million voxels.
    same : part of the foreground voxels with the same label as in the reference; 1 where there
        are none.
    dice : of the structure that agrees least.
    compared : how many foreground voxels these are.
    difference : the largest between two probabilities.
    """

    name: str
    start: float
    pace: float
    same: float = 1.0
    dice: float = 1.0
    compared: int = 0
    difference: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether its labels are the reference's.

        Of few foreground voxels: whether it computes in float32 too, to the same probabilities.
        Less precise ones may agree on the background, of which a network is sure, and nowhere else.
        """
        if self.compared < ENOUGH:
            return self.name.endswith("fp32") and self.difference <= NEARLY
        return self.same >= SAME and self.dice >= DICE

    @property
    def is_certain(self) -> bool:
        """Whether other samples would hardly tell otherwise."""
        return self.agrees or self.compared >= ENOUGH

    def __str__(self) -> str:
        if self.agrees:
            return f"{self.name} {self.pace:.3g} s a million voxels"
        return f"{self.name} left out, {100 * self.same:.2f} % of the foreground the same"

    def seconds(self, voxels: float) -> float:
        """How long it takes for so many voxels."""
        return self.start + self.pace * voxels / 1e6


def fastest(benchmarks: Mapping[str, BackendBenchmark], voxels: float) -> str:
    """The name of the backend that is done first with so many voxels, of those that agree."""
    agreeing = [each for each in benchmarks.values() if each.agrees]
    return min(agreeing, key=lambda each: each.seconds(voxels)).name


def agreement(expected: Tensor, found: Tensor) -> dict[str, Any]:
    """How far class probabilities (B, classes, i, j[, k]) agree: a benchmark's last four fields.

    Foreground is what either calls so.
    """
    one, other = expected.argmax(dim=1), found.argmax(dim=1)
    either = (one > 0) | (other > 0)
    compared, classes = int(either.sum()), expected.shape[1]
    sizes = torch.bincount(one.flatten(), minlength=classes)
    sizes = sizes + torch.bincount(other.flatten(), minlength=classes)
    shared = torch.bincount(one[one == other], minlength=classes)
    there = sizes[1:] > 0
    dices = 2 * shared[1:][there] / sizes[1:][there]
    return {
        "same": int(shared[1:].sum()) / compared if compared else 1.0,
        "dice": float(dices.min()) if compared else 1.0,
        "compared": compared,
        "difference": float((expected - found).abs().max()),
    }


def benchmark(
    makers: Mapping[str, Callable[[], Runtime]], samples: Tensor, voxels: float
) -> dict[str, BackendBenchmark]:
    """Name -> how a backend does with the samples; the first is the reference, in float32.

    Parameters
    ----------
    voxels : to predict. What takes longer to benchmark than it may gain is left out.
    """
    (name, make), *others = makers.items()
    reference, each = make(), samples[0, 0].numel()
    reference.probabilities(samples[:1])
    once, expected = _timed(reference, samples[:1])
    seconds, alone = once, len(samples) == 1
    samples = _spread(samples, int(PATIENCE / once))
    whole = BackendBenchmark(name, 0.0, once / each * 1e6)
    costs = {other: START if other.startswith("openvino") else 0.0 for other, _ in others}
    times = 1 if once * len(samples) > BRIEF else TIMES
    # the reference is timed, the other warmed up and timed
    trying = (2 * times + 1) * whole.seconds(len(samples) * each)
    others = [x for x in others if whole.seconds(voxels) > GAIN * (costs[x[0]] + trying)]
    if not others:
        return {name: whole}
    million = len(samples) * each / 1e6
    if not alone:
        seconds, expected = _timed(reference, samples)
    benchmarks = {
        name: BackendBenchmark(name, 0.0, seconds / million, **agreement(expected, expected))
    }
    for name, make in others:
        started = time.perf_counter()
        try:
            runtime = make()
            runtime.probabilities(samples)
            start = time.perf_counter() - started
            seconds, found = _timed(runtime, samples)
            benchmarks[name] = BackendBenchmark(
                name, start, seconds / million, **agreement(expected, found)
            )
        except (CondyleError, RuntimeError) as error:
            warn(f"{name} is left out: {error}")
    return benchmarks


def _spread(samples: Tensor, most: int) -> Tensor:
    """So many samples at the most, one at the least, from first to last."""
    count = min(max(most, 1), len(samples))
    places = torch.linspace(0, len(samples) - 1, count + 2)[1:-1] if count < len(samples) else None
    return samples if places is None else samples[places.round().long()]


def _timed(runtime: Runtime, samples: Tensor) -> tuple[float, Tensor]:
    """Seconds for the samples, the least of several if they are short, and the probabilities."""
    spans: list[float] = []
    while True:
        started = time.perf_counter()
        found = runtime.probabilities(samples)
        spans.append(time.perf_counter() - started)
        if sum(spans) > BRIEF or len(spans) == TIMES:
            return max(min(spans), 1e-6), found
