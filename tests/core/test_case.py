from functools import partial
from pathlib import Path

import numpy as np
import pytest

from condyle.core import KNEE, Case, Dataset, Fold, Grid, LabelMap, Volume
from condyle.errors import DatasetError, GridMismatch, LabelError, SplitError, UnknownName

GRID = Grid.regular((2, 2, 2))
SHIFTED = Grid.regular((2, 2, 2), origin=(1, 0, 0))


def images(paths, grids=(GRID,)):
    return tuple(Volume(np.zeros((2, 2, 2)), grid) for grid in grids)


def label(path, grid=GRID, value=1):
    return LabelMap(np.full((2, 2, 2), value, np.uint8), grid, KNEE)


def case(name, patient=None, read_images=images, read_label=label):
    return Case(name, (Path(name),), Path(name), patient or name, read_images, read_label)


def dataset(*cases, folds=()):
    return Dataset("knees", Path("knees"), cases, KNEE, folds)


def test_a_pair_on_two_grids_is_refused_and_the_case_named():
    with pytest.raises(GridMismatch, match="case a"):
        case("a", read_label=partial(label, grid=SHIFTED)).pair()


def test_channels_on_two_grids_are_refused():
    with pytest.raises(GridMismatch, match="channels of case a"):
        case("a", read_images=partial(images, grids=(GRID, SHIFTED))).channels()


def test_labels_outside_the_scheme_are_refused():
    with pytest.raises(LabelError, match=r"\[9\]"):
        case("a", read_label=partial(label, value=9)).labels()


def test_an_empty_data_set_and_a_doubled_case_are_refused():
    with pytest.raises(DatasetError, match="holds no cases"):
        dataset()
    with pytest.raises(DatasetError, match="more than one case called a"):
        dataset(case("a"), case("a"))


def test_a_patient_on_two_sides_of_a_fold_is_named():
    data = dataset(case("a1", "ann"), case("a2", "ann"), folds=(Fold(("a1",), ("a2",)),))
    with pytest.raises(SplitError, match="patient ann on two sides"):
        data.fold(0)


def test_folds_and_cases_that_are_not_there_are_named():
    data = dataset(case("a"), case("b"), folds=(Fold(("a",), ("c",)),))
    with pytest.raises(SplitError, match="no case c"):
        data.fold(0)
    with pytest.raises(SplitError, match="folds 0 to 0, not 3"):
        data.fold(3)
    with pytest.raises(UnknownName, match="'z'"):
        data["z"]
