"""What every reader must do: a bad input is one sentence of ours, whatever library is behind it."""

import subprocess
import sys

import numpy as np
import pytest

from condyle.core import KNEE, Grid, LabelMap, Volume
from condyle.errors import CondyleError, DatasetError, LabelError, MissingFile, UnreadableFile
from condyle.io import open_dataset, read, read_labels, write

SHAPE = (9, 8, 7)
ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".seg.nrrd")


def a_label_map():
    array = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    return LabelMap(array, Grid.regular(SHAPE, (1, 1, 3)), KNEE)


def missing(folder):
    return folder / "scan.nii.gz"


def text(folder):
    (folder / "scan.nii.gz").write_text("this is a text file\n")
    return folder / "scan.nii.gz"


def truncated(folder):
    path = write(a_label_map(), folder / "scan.nii.gz")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def halves(folder):
    volume = Volume(np.full(SHAPE, 0.5, np.float32), Grid.regular(SHAPE))
    return write(volume, folder / "scan.nii.gz")


def empty(folder):
    return folder


BAD = [
    (missing, read, MissingFile),
    (text, read, UnreadableFile),
    (truncated, read, UnreadableFile),
    (halves, read_labels, LabelError),
    (empty, open_dataset, DatasetError),
]


@pytest.mark.parametrize(("make", "reader", "error"), BAD, ids=lambda x: getattr(x, "__name__", ""))
def test_bad_input_is_one_sentence(tmp_path, make, reader, error):
    path = make(tmp_path)
    with pytest.raises(error) as caught:
        reader(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("reader", [read, read_labels])
def test_damage_anywhere_raises_ours_or_leaves_a_scan(tmp_path, ending, reader):
    kind = {read: Volume, read_labels: LabelMap}[reader]
    path = write(a_label_map(), tmp_path / f"scan{ending}")
    good = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(rng.integers(1, 6)):
            bad[rng.integers(0, min(len(bad), 600))] = rng.integers(0, 256)
        path.write_bytes(bad)
        try:  # anything that is not ours, a warning too, fails the test here
            found = reader(path)
        except CondyleError:
            refused += 1
            continue
        assert isinstance(found, kind)
        assert found.array.shape == found.grid.shape
        assert np.isfinite(found.grid.affine).all()
    assert refused > 0


def test_importing_io_is_light():
    code = "import sys, condyle.io; print(*(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "SimpleITK", "pydicom", "nibabel"} & set(done.stdout.split())
