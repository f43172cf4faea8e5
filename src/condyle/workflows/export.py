"""A trained network in a format that other programs run, with a card that says how to use it."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condyle._version import __version__
from condyle.config import Plane
from condyle.config.requests import ExportRequest
from condyle.core import Case
from condyle.errors import ConfigError, MissingExtra, MissingFile
from condyle.io import open_dataset
from condyle.jobs.job import Job, verb
from condyle.jobs.outputs import atomic_write, protected, require_free, sha256, write_text
from condyle.jobs.process import without_python_warnings
from condyle.networks import PredictionNetwork
from condyle.networks.layers import padded_to
from condyle.predict import RecipePreprocessing, Segmenter
from condyle.predict.passes import filled
from condyle.predict.runtimes.openvino import CARD, Graph, example, library
from condyle.predict.runtimes.selection import EXPORTED
from condyle.predict.segmenter import home_of
from condyle.prepare.slices import AXIS, planes_of
from condyle.runs.dataset import folders_of
from condyle.runs.folder import RunFolder

__all__ = ["Exported", "export", "quantised"]

CASES = 16
"""Training cases that an int8 network is calibrated on, at the most."""
SAMPLES = {2: 64, 3: 16}
"""Slices, or windows, that it is calibrated on, of all cases together."""


@dataclass(frozen=True)
class Exported:
    """The folder that a network was written into."""

    folder: Path


@verb
def export(request: ExportRequest, job: Job) -> Exported:
    """Write a run's network as `model.xml` and `model.bin`, or `model.onnx`, and `card.json`.

    The exported network gives class probabilities; the card says what goes in and what comes out.
    Without `out` it lies beside the segmenter's weights, where `segment` tries it.

    Raises
    ------
    ConfigError
        If int8 is asked for in ONNX, or its calibration scans cannot be found.
    MissingExtra
        If a library that it takes is not installed.
    """
    run = request.run
    if request.to == "onnx" and request.precision != "fp32":
        raise ConfigError(
            "int8 is written for OpenVINO: set `to` = openvino, or `precision` = fp32"
        )
    if request.calibrate is not None and request.precision != "int8":
        raise ConfigError("`calibrate` is for `precision` = int8: fp32 needs no scans")
    segmenter = Segmenter.load(run)
    by_recipe = segmenter.by_recipe
    home = home_of(run)
    folder = request.out or home / EXPORTED / f"{request.to}-{request.precision}"
    with protected(path for path in home.iterdir() if path.is_file()):
        for name in ("model.xml", "model.bin", "model.onnx", CARD):
            require_free(folder / name)
    card = _card(segmenter, by_recipe, sha256(home / "model.safetensors"))
    if request.to == "onnx":
        return Exported(_to_onnx(segmenter, folder, card))
    if request.precision == "fp32":
        return Exported(Graph.of(segmenter.network).save(folder, card).parent)
    nncf = _needed("nncf")
    cases = _calibration_cases(run, segmenter, request.calibrate)
    samples = list(_samples(by_recipe, segmenter.network, cases, job))
    card["calibrated on"] = {"cases": [case.id for case in cases], "samples": len(samples)}
    with _quiet():
        graph = quantised(nncf, Graph.of(segmenter.network), samples)
    return Exported(graph.save(folder, card).parent)


def _card(segmenter: Segmenter, by_recipe: RecipePreprocessing, weights: str) -> dict[str, Any]:
    """What somebody without Condyle must know of the network."""
    network = segmenter.network
    axes = ", ".join("ijk"[: network.spatial])
    return {
        "made by": f"condyle {__version__}",
        "network": segmenter.name,
        "weights": weights,
        "input": f"(batch, {segmenter.channels}, {axes}) float32, the scan in RAS axes, resampled "
        "and scaled as `preparation` says; sides are multiples of `multiple`, the far borders "
        "repeated where the scan is too small",
        "output": f"(batch, class, {axes}) float32, class probabilities; class 0 is background, "
        "the others are `labels` in their order",
        "labels": [
            {"id": x.id, "name": x.name, "colour": list(x.colour)} for x in segmenter.scheme.labels
        ],
        "preparation": by_recipe.settings.model_dump(mode="json"),
        "window": by_recipe.window,
    }


def _needed(name: str) -> Any:
    """The module of this name, where it is installed."""
    library()  # imported first, it keeps nncf from sending notes of its use
    try:
        with _quiet():
            return import_module(name)
    except ImportError as error:
        raise MissingExtra(f"this needs {name}: pip install 'condyle[export]'") from error


def _to_onnx(segmenter: Segmenter, folder: Path, card: dict[str, Any]) -> Path:
    """Write `model.onnx` for batches and sides of any size."""
    onnx = _needed("onnx")
    network = segmenter.network
    scored, x = example(network)
    path = folder / "model.onnx"
    axes = {0: "batch"} | {2 + axis: "ijk"[axis] for axis in range(network.spatial)}
    with atomic_write(path, check=onnx.checker.check_model) as temporary, _quiet():
        # the exporter by torch.export, meant to follow this one, is ten times as slow, and fixed
        # the batch of deeplabv3plus-mobilenetv3 to that of the example
        torch.onnx.export(
            scored, (x,), temporary, dynamo=False, input_names=["scan"],
            output_names=["probabilities"], dynamic_axes={"scan": axes, "probabilities": axes},
        )  # fmt: skip
    own = {"multiple": network.multiple, "single": network.single, "precision": "fp32"}
    text = json.dumps(card | own | {"files": {path.name: sha256(path)}}, indent=2)
    return write_text(folder / CARD, text + "\n").parent


@contextmanager
def _quiet() -> Generator[None]:
    """Without what the libraries that convert say to their own developers, bars included."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with without_python_warnings(), redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(before)


def _calibration_cases(run: Path, segmenter: Segmenter, dataset: Path | None) -> list[Case]:
    """Some of the cases that the segmenter was trained on; of another data set, some of all."""
    if dataset is None:
        known = [*folders_of(RunFolder(run)), *folders_of(RunFolder(run.parent))]
        if not known:
            raise MissingFile(
                f"{run} does not say where its scans are, or they are there no more: give "
                "`calibrate`"
            )
        dataset = known[0]
    cases = open_dataset(dataset).cases
    trained = set(segmenter.training.train)
    cases = [case for case in cases if case.id in trained] or list(cases)
    step = max(1, len(cases) // CASES)
    return cases[::step][:CASES]


def _samples(
    by_recipe: RecipePreprocessing, network: PredictionNetwork, cases: list[Case], job: Job
) -> Iterator[NDArray[np.float32]]:
    """Slices or windows (1, C, i, j[, k]), as many of each case, spread over it."""
    each = -(-SAMPLES[network.spatial] // len(cases))
    for case in job.track("preparing", cases):
        for sample in islice(_spread(by_recipe, case, each), each):
            yield padded_to(sample, network.multiple, network.single).numpy()


def _spread(by_recipe: RecipePreprocessing, case: Case, count: int) -> Iterator[Tensor]:
    """So many samples of a case: slices of each plane, or windows along the body."""
    channels, recipe = case.channels(), by_recipe.recipe
    if by_recipe.spatial == 2:
        planes: tuple[Plane, ...] = planes_of(recipe.plane)
        for plane in planes:
            stack = np.moveaxis(recipe.apply(channels, plane).array, AXIS[plane] + 1, 0)
            for place in _places(len(stack), -(-count // len(planes))):
                yield torch.from_numpy(np.array(stack[place : place + 1], order="C"))
        return
    image, _ = filled(recipe.apply(channels).array, by_recipe.window)
    shape = image.shape[1:]
    size = by_recipe.window or shape
    middle = [(n - s) // 2 for n, s in zip(shape, size, strict=True)]
    for place in _places(shape[2] - size[2] + 1, count):
        starts = [middle[0], middle[1], place]
        box = tuple(slice(p, p + s) for p, s in zip(starts, size, strict=True))
        yield torch.from_numpy(np.array(image[(slice(None), *box)], order="C"))[None]


def _places(length: int, count: int) -> list[int]:
    """So many numbers below a length, spread evenly, none at the very ends if it can be.

    Examples
    --------
    >>> _places(10, 2)
    [3, 6]
    """
    found = np.linspace(0, length, count + 2)[1:-1].astype(int)
    return sorted(set(cast(list[int], found.tolist())))


def quantised(nncf: Any, graph: Graph, samples: list[NDArray[np.float32]]) -> Graph:
    """The network in int8, its ranges fitted to the samples.

    Weights have 7 bits, for sums in 8 overflow on processors without VNNI: two trained networks
    kept 94 % and 79 % of their foreground with 8, 98 % and 99 % with 7 and all biases corrected.
    """
    fix = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    model = nncf.quantize(
        graph.model,
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(samples),
        fast_bias_correction=False,
        advanced_parameters=fix,
    )
    return Graph(model, graph.multiple, graph.single, "int8")
