"""Fixtures shared by all tests, and the option that chooses float32 or bfloat16."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from condyle.core import KNEE, Case, Dataset, Grid, LabelMap, Volume
from condyle.networks.precision import PRECISION, PRECISIONS, has_bf16
from condyle.predict.runtimes.cache import FOLDER

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption(
        "--precision",
        choices=(*PRECISIONS, "other"),
        default="auto",
        help="Where networks compute in bfloat16: auto, where this machine is fast in it; fp32, "
        "nowhere; bf16, as on a machine that is fast in it; other, the one that auto is not. It "
        f"sets {PRECISION}, which child processes inherit. A CPU that lacks bfloat16 emulates "
        "it, slowly: PyTorch and OpenVINO round what goes into each convolution, and what comes "
        "out, to bfloat16, and sum in float32, as AVX512-BF16 does.",
    )


def pytest_configure(config):
    asked = config.getoption("--precision")
    if asked == "other":
        asked = "fp32" if has_bf16(torch.device("cpu")) else "bf16"
    if asked != "auto":
        os.environ[PRECISION] = asked


def pytest_report_header():
    return f"{PRECISION}={os.environ.get(PRECISION, 'auto')}"


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory):
    """Tests neither read nor write the user's cache folder; their child processes neither."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scans that developers have; tests that need it skip where it is not."""
    if not SHARED.is_dir():
        pytest.skip("the developers' folder of real scans (shared/data) is not here")
    return SHARED.resolve()


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
