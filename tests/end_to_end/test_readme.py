"""What the README shows is run: on phantoms, and with a training of seconds instead of minutes."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import condyle
from condyle.app.cli.main import app, main
from condyle.core import LabelMap
from condyle.phantom import leg

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
IN_ORDER = [
    line.removeprefix("condyle ").split("  #")[0]
    for language, block in BLOCKS if not language
    for line in block.splitlines() if line.startswith("condyle ")
]  # fmt: skip
IN_SENTENCES = sorted(set(re.findall(r"`condyle ([^`]+)`", README)))

TOO_LONG = ("compare ", "inflate check ", "serve")
"""Commands that train several networks, need weights from the network, or serve until they are
stopped: other tests run them."""

TINY = """
network.name = "unet-plain"
preparation.size = 32
training = {epochs = 1, steps = 20, batch = 4, rate = 5e-3, ema = 0.9}
"""


def quick(command):
    """The command with a training of a few steps instead of a quarter of an hour."""
    return re.sub(r"^(train .*)--budget 15m", r"\1--config tiny.toml", command)


def code_of(command):
    """The exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command))
    return ended.value.code


def write_scans(folder):
    """Three legs with a folder of masks each, and a new one with its truth."""
    for seed, name in enumerate(("leg_a", "leg_b", "leg_c")):
        scan, truth = leg(seed, spacing=(6, 6, 20))
        condyle.write(scan, folder / "scans" / f"{name}.nii.gz")
        for label in truth.scheme.labels:
            mask = LabelMap((truth.array == label.id).astype(np.uint8), truth.grid, truth.scheme)
            condyle.write(mask, folder / "masks" / name / f"{label.name}.nii.gz")
    scan, truth = leg(3, spacing=(6, 6, 20))
    condyle.write(scan, folder / "new_scans" / "leg.nii.gz")
    condyle.write(truth, folder / "truth" / "leg.nii.gz")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder like the one that the README speaks of, after all commands of its list."""
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MALLOC_TOP_PAD_", "0")  # else the verb starts this process again
        write_scans(folder)
        Path("tiny.toml").write_text(TINY)
        codes = {command: code_of(quick(command)) for command in IN_ORDER}
        yield folder, codes


def test_readme_commands_run_one_after_the_other(desk):
    folder, codes = desk
    assert [command.split()[0] for command in codes] == [
        "import", "check", "train", "segment", "refine", "mesh",
    ]  # fmt: skip
    assert set(codes.values()) == {0}
    assert (folder / "run" / "report.html").stat().st_size > 0
    truth = condyle.read_labels(folder / "truth" / "leg.nii.gz")
    for step in ("labels", "clean"):
        assert condyle.read_labels(folder / step / "leg.nii.gz").grid.same_as(truth.grid, 1e-4)
    assert list((folder / "surfaces").glob("leg_*.ply"))


@pytest.mark.parametrize("command", [c for c in IN_SENTENCES if not c.startswith(TOO_LONG)])
def test_readme_commands_within_sentences_run(desk, command):
    assert code_of(command) == 0


@pytest.mark.parametrize("command", [c for c in IN_SENTENCES if c.startswith(TOO_LONG)])
def test_readme_commands_that_take_long_parse(command):
    app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)


def test_readme_python_runs(desk, capsys):
    (code,) = [block for language, block in BLOCKS if language == "python"]
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert float(capsys.readouterr().out) == names["labels"].volume_cm3("femur")
    assert condyle.read_labels("leg_bones.nii.gz").grid.same_as(names["scan"].grid, 1e-4)


def test_public_menu_holds_what_it_lists():
    for name in condyle.__all__:
        assert getattr(condyle, name) is not None
