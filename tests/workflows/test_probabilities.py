"""Probabilities of held-out cases, counted where somebody labelled."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from condyle.config import Preparation
from condyle.core import Case, Grid, LabelMap, LabelScheme, Volume
from condyle.jobs.job import Job
from condyle.predict import RecipePreprocessing, Segmenter
from condyle.runs.folder import RunFolder
from condyle.workflows.training.probabilities import (
    MOST_CASES,
    count_probabilities,
    evenly,
    read_histograms,
)

SCHEME = LabelScheme.of({"shell": 3, "core": 7})
SHAPE = (12, 10, 8)


class Brightness(torch.nn.Module):
    """A network that calls 0.5 the shell and 1 the core, and is surer of the core."""

    spatial, memory_format = 2, torch.contiguous_format

    def forward(self, x):
        here = x[:, 0]
        scores = torch.zeros(len(x), 3, *here.shape[1:])
        scores[:, 0] = 4 * (here < 0.25)
        scores[:, 1] = 2 * ((here > 0.25) & (here < 0.75))
        scores[:, 2] = 6 * (here > 0.75)
        return scores


def case(name, ignore=None, shape=SHAPE, wrong=0):
    """A core in a shell; so many voxels of the core look like background."""
    grid = Grid.regular(shape, (1, 1.5, 2)).turned(Grid.regular(shape, (1, 1.5, 2)).turn_to("LPS"))
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:9, 2:8, 2:6] = 3
    labels[4:7, 3:7, 3:5] = 7
    image = np.select([labels == 3, labels == 7], [50.0, 100.0]).astype(np.float32)
    image[tuple(np.argwhere(labels == 7)[:wrong].T)] = 0
    scheme = SCHEME
    if ignore:
        labels[:5] = ignore
        scheme = LabelScheme.of({**SCHEME.to_dict(), "ignore": ignore})
    volume, truth = Volume(image, grid), LabelMap(labels, grid, scheme)
    return Case(name, (Path(name),), Path(name), name, lambda _: (volume,), lambda _: truth)


@pytest.fixture
def segmenter():
    preprocessor = RecipePreprocessing(settings=Preparation(intensity="minmax"))
    return Segmenter("unet-plain", Brightness(), preprocessor, SCHEME)


def test_a_network_that_knows_all_has_the_best_curve_and_its_counts_come_back(segmenter, tmp_path):
    counts = count_probabilities(segmenter, [case("a"), case("b")], RunFolder(tmp_path), Job())
    assert list(counts) == ["shell", "core"]
    for count, voxels in zip(counts.values(), (7 * 6 * 4 - 24, 24), strict=True):
        assert count.average_precision == 1
        assert count.inside.sum() == 2 * voxels
        assert count.voxels == 2 * np.prod(SHAPE)
    said = counts["core"].reliability()
    assert said.expected[-1] == pytest.approx(np.exp(6) / (np.exp(6) + 2), abs=1e-3)
    read = read_histograms(tmp_path)
    assert {n: c.average_precision for n, c in read.items()} == {"shell": 1, "core": 1}
    assert all(np.array_equal(read[n].outside, counts[n].outside) for n in counts)


def test_what_is_missed_lowers_the_curve_of_its_structure_alone(segmenter, tmp_path):
    counts = count_probabilities(segmenter, [case("a", wrong=6)], RunFolder(tmp_path), Job())
    assert 0.7 < counts["core"].average_precision < 0.8  # 18 of 24 found, the rest with all else
    assert counts["shell"].average_precision == 1


def test_voxels_that_nobody_labelled_are_not_counted(segmenter, tmp_path):
    counts = count_probabilities(segmenter, [case("a", ignore=9)], RunFolder(tmp_path), Job())
    assert counts["core"].voxels == np.prod(SHAPE) * 7 // 12
    assert counts["core"].inside.sum() == 2 * 4 * 2
    assert counts["core"].average_precision == 1


def test_a_case_that_fails_is_left_out_and_named(segmenter, tmp_path, caplog):
    lame = case("lame")
    lame = Case(lame.id, lame.images, None, lame.patient, lame.read_images, lame.read_label)
    counts = count_probabilities(segmenter, [lame, case("b")], RunFolder(tmp_path), Job())
    assert counts["core"].inside.sum() == 24
    assert "lame" in caplog.text


def test_of_many_cases_a_few_are_chosen_evenly(segmenter, tmp_path):
    assert evenly(range(30), 4) == [0, 10, 19, 29]
    assert evenly(range(3), 8) == [0, 1, 2]
    counts = count_probabilities(
        segmenter, [case(str(n)) for n in range(20)], RunFolder(tmp_path), Job()
    )
    assert counts["core"].inside.sum() == 24 * MOST_CASES


def test_without_a_case_nothing_is_written(segmenter, tmp_path):
    assert count_probabilities(segmenter, [], RunFolder(tmp_path), Job())["core"].voxels == 0
    assert read_histograms(tmp_path) == {}


def test_the_file_is_a_table_that_others_can_read(segmenter, tmp_path):
    count_probabilities(segmenter, [case("a")], RunFolder(tmp_path), Job())
    rows = list(csv.DictReader((tmp_path / "likelihood.csv").read_text("utf-8").splitlines()))
    assert set(rows[0]) == {"structure", "above", "inside", "outside", "total"}
    assert sum(int(row["inside"]) for row in rows if row["structure"] == "core") == 24
