"""Cases that live in memory: what the readers would give, without files."""

from pathlib import Path

import numpy as np
import pytest

from condyle.core import KNEE, Case, Dataset, Grid, LabelMap, Volume


@pytest.fixture
def make_case():
    """A function that makes a case of arrays; an exception instead of one is raised on reading."""

    def make(name, image=None, labels=None, *, patient=None, grid=None, label_grid=None,
             modality="", scheme=KNEE):  # fmt: skip
        image = np.zeros((4, 5, 6), np.float32) if image is None else image
        grid = grid or Grid.regular(getattr(image, "shape", (4, 5, 6)))

        def read_images(paths):
            if isinstance(image, Exception):
                raise image
            return (Volume(image, grid, modality),)

        def read_label(path):
            if isinstance(labels, Exception):
                raise labels
            return LabelMap(labels, label_grid or grid, scheme)

        path = Path(f"{name}.nii.gz")
        return Case(
            name, (path,), None if labels is None else path, patient or name,
            read_images, read_label,
        )  # fmt: skip

    return make


@pytest.fixture
def make_dataset():
    def make(cases, folds=(), scheme=KNEE):
        return Dataset("knees", Path("knees"), tuple(cases), scheme, tuple(folds))

    return make
