"""What is wrong with arguments, paths and folders is said before torch is loaded."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from condyle.config.section import seconds

COMMANDS = {
    "segment nosuch data --out out": "nosuch is not there: give the run folder of condyle train",
    "segment data run --out out": "data is a data set and holds no segmenter",
    "segment begun data --out out": "is not finished: go on with condyle train --out begun",
    "segment empty data --out out": "empty holds no segmenter",
    "segment run nosuch --out out": "nosuch is not there",
    "segment run data --out out --format nii": "nifti",
    "segment run data --out out --also nosuch": "nosuch is not there",
    "train nosuch --out out": "the data set folder nosuch is not there",
    "train data --out begun": "is not empty",
    "train data --out out --budget soon": "is not a duration: write 90s, 15m, 2h or 1h30m",
    "plan nosuch": "the data set folder nosuch is not there",
    "demo --out out --budget soon": "is not a duration: write 90s, 15m, 2h or 1h30m",
    "evaluate empty data --out out": "no prediction in empty",
    "evaluate data/labelsTr nosuch --out out": "nosuch is not there",
    "refine nosuch --fill-holes --out out": "nosuch is not there",
    "refine data --choose nosuch": "nosuch is not there",
    "mesh nosuch --out out": "nosuch is not there",
    "features nosuch data/labelsTr --out out.csv": "nosuch is not there",
    "quality run nosuch": "nosuch is not there",
    "export nosuch --to onnx": "nosuch is not there",
    "compare nosuch.toml --out out": "nosuch.toml is not there",
    "check nosuch": "nosuch is not there",
    "import nosuch --masks data --out out": "nosuch is not there",
    "runs nosuch": "nosuch is not there",
}
RUN = """
import json, sys
from condyle.app.cli.main import main
import condyle.jobs.process
condyle.jobs.process.restart_with_roomy_allocator = lambda arguments: None
for words in json.loads(sys.argv[1]):
    print("$", words, file=sys.stderr)
    try:
        main(words.split())
    except SystemExit as ended:
        print(f"{ended.code} {'torch' in sys.modules}", file=sys.stderr)
"""


@pytest.fixture
def place(tmp_path):
    """A data set, a run that has a segmenter (or so it seems), one that has not, and no run."""
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        image = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
        nib.save(image, tmp_path / "data" / folder / "a.nii.gz")
    (tmp_path / "data" / "dataset.json").write_text('{"labels": {"background": 0, "bone": 1}}')
    (tmp_path / "run" / "segmenter").mkdir(parents=True)
    (tmp_path / "run" / "segmenter" / "segmenter.json").write_text("{}")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.toml").write_text('dataset = "data"\n')
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_wrong_arguments_and_paths_are_refused_before_torch_is_loaded(place):
    before = sorted(place.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(list(COMMANDS))],
        cwd=place, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {}
    for part in done.stderr.split("$ ")[1:]:
        words, *said, state = part.strip().splitlines()
        found[words] = (state, " ".join(said))
    assert found.keys() == COMMANDS.keys()
    for words, sentence in COMMANDS.items():
        state, said = found[words]
        assert state == "2 False", (words, said)
        assert sentence in said, (words, said)
        assert said.count("condyle: ") == 1, (words, said)
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "value"),
    [("2min", 120), ("2 min", 120), ("90 s", 90), ("1h30m", 5400), ("1 h 30 min", 5400), (90, 90),
     ("1.5h", 5400), ("15m", 900), ("2 hours", 7200), ("1d", 86400), ("0.5", 0.5), ("3M", 180)],
)  # fmt: skip
def test_a_budget_is_written_as_people_write_it(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["soon", "", "m", "1h30", "-5m", "nan", "inf", "5 parsecs", "1mh"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(text)
