"""What is wrong with a request and can be said at once, before torch is loaded for the verb."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from condyle.config.requests import (
    CompareRequest,
    DemoRequest,
    ExportRequest,
    FeaturesRequest,
    PlanRequest,
    QualityRequest,
    RefineRequest,
    Request,
    SegmentRequest,
    TrainRequest,
)
from condyle.errors import MissingFile
from condyle.io import find_scans, is_dataset, open_dataset
from condyle.runs.folder import RunFolder

__all__ = ["preflight"]


def preflight(request: Request) -> None:
    """Raise what can be seen without a network: paths that are missing, swapped or taken.

    The verb checks all of it again, and more.

    Raises
    ------
    CondyleError
        As the verb would.
    """
    check = CHECKS.get(type(request))
    if check is not None:
        check(request)


def _require_runs(folders: Iterable[Path]) -> None:
    """Raise where a folder is no run that can segment, and say what it is."""
    for folder in folders:
        run = RunFolder(folder)
        if run.can_segment:
            continue
        if not folder.exists():
            raise MissingFile(f"{folder} is not there: give the run folder of condyle train")
        if run.is_begun:
            raise MissingFile(
                f"the training in {folder} is not finished: go on with condyle train --out "
                f"{folder} --resume"
            )
        what = "is a data set and " if is_dataset(folder) else ""
        raise MissingFile(
            f"{folder} {what}holds no segmenter: give the run folder of condyle train"
        )


def _require_scans(paths: Iterable[Path]) -> None:
    for path in paths:
        if not is_dataset(path):
            find_scans(path)


def _segment(request: SegmentRequest) -> None:
    _require_runs([request.run, *request.also, *filter(None, [request.specialist])])
    _require_scans(request.scans)


def _refine(request: RefineRequest) -> None:
    if request.choose is None:
        _require_scans(request.labelmaps)
    elif len(request.labelmaps) == 1 and request.given().keys() == {"labelmaps", "choose"}:
        _require_runs([request.choose])


def _quality(request: QualityRequest) -> None:
    _require_runs([request.run, *request.also])
    if request.dataset is not None:
        open_dataset(request.dataset)


def _plan(request: PlanRequest) -> None:
    open_dataset(Path(request.experiment().dataset))


def _compare(request: CompareRequest) -> None:
    open_dataset(Path(request.comparison().dataset))


def _train(request: TrainRequest) -> None:
    run = RunFolder(request.out)
    if request.resume and run.is_begun:
        return
    experiment = request.experiment()
    run.require_room()
    open_dataset(Path(experiment.dataset))


CHECKS: dict[type[Request], Callable[[Any], None]] = {
    SegmentRequest: _segment,
    RefineRequest: _refine,
    QualityRequest: _quality,
    PlanRequest: _plan,
    TrainRequest: _train,
    ExportRequest: lambda request: _require_runs([request.run]),
    FeaturesRequest: lambda request: _require_scans(filter(None, [request.scan, request.labelmap])),
    CompareRequest: _compare,
    DemoRequest: lambda request: request.training().experiment(),
}
"""Request -> what can be said of it at once; the other verbs need no torch for that."""
