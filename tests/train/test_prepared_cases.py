"""Cases are prepared as the network sees them, and labels that had to be put in place are known."""

import numpy as np
import pytest

from condyle.config.experiment import Preparation
from condyle.core import KNEE, Case, Grid, LabelMap, Volume
from condyle.prepare.recipe import Recipe
from condyle.train.prepared_cases import mapped, prepare

GRID = Grid.regular((6, 5, 4))


@pytest.mark.parametrize("start", [(0, 0, 0), (2, 0, 0)])
def test_case_says_whether_its_labels_were_put_in_place(tmp_path, start):
    scan = Volume(np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32), GRID)
    whole = np.zeros(GRID.shape, np.uint8)
    whole[3:5] = 1
    labels = LabelMap(whole, GRID, KNEE).cropped(start, GRID.shape)
    case = Case(
        "leg", (tmp_path / "leg.nii.gz",), tmp_path / "labels.nii.gz", "leg",
        read_images=lambda _: (scan,), read_label=lambda _: labels,
    )  # fmt: skip
    assert prepare(case, Recipe(Preparation()), tmp_path) == (start != (0, 0, 0))
    assert np.array_equal(mapped("leg", tmp_path).labels, whole)
