"""How likely a segmenter holds the voxels of held-out cases to be what they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from condyle.core import Case
from condyle.errors import CondyleError
from condyle.jobs.job import Job
from condyle.jobs.outputs import write_csv
from condyle.measure.probability_histogram import ProbabilityHistogram
from condyle.predict import Segmenter
from condyle.predict.runtimes.torch import TorchRuntime
from condyle.prepare.resample import resample_labels
from condyle.runs.folder import RunFolder
from condyle.runs.record import read_csv

__all__ = ["MOST_CASES", "count_probabilities", "histograms_of", "read_histograms"]

T = TypeVar("T")

MOST_CASES = 8
"""Cases that are looked at: a voxel in a thousand would do for the curves."""


def count_probabilities(
    segmenter: Segmenter,
    cases: Sequence[Case],
    run: RunFolder,
    job: Job,
    *,
    device: str = "auto",
) -> dict[str, ProbabilityHistogram]:
    """Structure -> voxels of held-out cases by probability; written as likelihood.csv into the run.

    Counted are the voxels of the grid that the network sees, of at most 8 cases, evenly chosen
    among all; what nobody labelled is left out. A case that fails is left out, and logged.
    """
    runtime = TorchRuntime.of(segmenter.network, device)
    counts = {name: ProbabilityHistogram.none() for name in segmenter.scheme.names}
    chosen = evenly(cases, MOST_CASES)
    for case in job.track("counting how often probabilities are right", chosen):
        try:
            found = histograms_of(segmenter, runtime, case)
        except (CondyleError, MemoryError, RuntimeError) as error:
            job.check()
            job.warn(f"the probabilities of {case.id} are not counted: {error}", about=case.id)
            continue
        counts = {name: counts[name] + found[name] for name in counts}
    rows = [{"structure": name, **row} for name, count in counts.items() for row in count.rows()]
    if rows:
        write_csv(run.probabilities, rows)
    return counts


def histograms_of(
    segmenter: Segmenter, runtime: TorchRuntime, case: Case
) -> dict[str, ProbabilityHistogram]:
    """Structure -> voxels of one case by probability, on the grid that the network sees."""
    channels, labels = case.pair()
    prepared = segmenter.by_recipe.recipe.apply(channels)
    ras, ignore = labels.reoriented("RAS").array[prepared.box or ...], labels.scheme.ignore
    truth = resample_labels(ras, prepared.grid.shape, allow_loss=True, ignore=ignore)
    known = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    found = segmenter.by_recipe.probabilities(runtime, prepared.array)
    return {
        name: ProbabilityHistogram.count(truth == labels.scheme[name].id, found[index], known)
        for index, name in enumerate(segmenter.scheme.names, 1)
    }


def read_histograms(run: Path) -> dict[str, ProbabilityHistogram]:
    """Structure -> voxels by probability, as a run folder's likelihood.csv has them.

    Empty where there is none.
    """
    path = RunFolder(Path(run)).probabilities
    if not path.is_file():
        return {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read_csv(path):
        rows.setdefault(row["structure"], []).append(row)
    return {name: ProbabilityHistogram.of(its) for name, its in rows.items()}


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, evenly chosen, in their order."""
    at = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[i] for i in at]
