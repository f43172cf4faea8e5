"""What people reported of the tools of this field, made again in small; what is right is asserted.

A case is a file of the folder `cases`: a docstring (what it is, whose report it is kin to, its
kind), `make(folder)`, which makes the input from nothing, and `right(field)`, which asserts what
is right. A file more is a case more.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from condyle.app.cli.main import main
from condyle.config import Preparation
from condyle.core import LabelScheme
from condyle.io import read_labels
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter

CASES = sorted((Path(__file__).parent / "cases").glob("*.py"))


@dataclass(frozen=True)
class Said:
    """What a command gave: its exit code, and all that it said."""

    code: int
    text: str


@dataclass
class Field:
    """What a case works with.

    Parameters
    ----------
    given : the folder that `make` has filled.
    out : a folder for results; not there yet.
    run : the run folder of a network of random weights with a tibia and a femur; CT.
    """

    given: Path
    out: Path
    run: Path
    capsys: pytest.CaptureFixture[str]

    def condyle(self, *words: object) -> Said:
        """Run a command as the shell does; its line breaks are joined."""
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = self.capsys.readouterr()
        return Said(int(ended.value.code or 0), " ".join((said.out + said.err).split()))

    def counts(self, labels: Path, scheme: LabelScheme | None = None) -> dict[str, int]:
        """Structure -> voxels, of a label map's file."""
        found = read_labels(labels, scheme)
        return {label.name: int((found.array == label.id).sum()) for label in found.scheme.labels}

    def only(self, folder: Path, pattern: str = "*") -> Path:
        """The one file of a folder that has such a name."""
        (found,) = [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]
        return found


def of(path: Path):
    """The case in a file."""
    spec = importlib.util.spec_from_file_location(f"field_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = build("unet-plain", 1, 3, "none")[0].eval()
    scheme = LabelScheme.of({"tibia": 1, "femur": 2})
    preparation = RecipePreprocessing(settings=Preparation())
    Segmenter("unet-plain", network, preparation, scheme).save(folder / "segmenter")
    return folder


@pytest.fixture(autouse=True)
def no_restart(monkeypatch):
    """The verb runs in this process: a restart would replace pytest itself, with exit code 0."""
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_field(path, run, tmp_path, capsys):
    case = of(path)
    (tmp_path / "in").mkdir()
    case.make(tmp_path / "in")
    case.right(Field(tmp_path / "in", tmp_path / "out", run, capsys))


def test_there_are_cases():
    assert len(CASES) > 0
    assert all((of(path).__doc__ or "").strip() for path in CASES)
