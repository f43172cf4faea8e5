import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condyle.config import Experiment, Preparation, seconds
from condyle.errors import ConfigError, MissingFile, UnreadableFile


@given(
    st.one_of(st.none(), st.tuples(*[st.floats(0, 10)] * 3)),
    st.sampled_from(["axial", "sagittal", "coronal"]),
    st.one_of(st.none(), st.floats(1, 1e5)),
    st.integers(0, 10),
)
def test_what_is_written_reads_back_the_same(spacing, plane, budget, fold):
    experiment = Experiment.parse(
        {
            "dataset": "knees",
            "fold": fold,
            "preparation": {"spacing": spacing, "plane": plane},
            "training": {"budget": budget},
        }
    )
    assert Experiment.parse(tomllib.loads(experiment.to_toml())) == experiment


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "dataset"),
        ({"dataset": "x", "trainin": {}}, "there is no setting 'trainin'"),
        ({"dataset": "x", "training": {"epocs": 3}}, "did you mean 'training.epochs'?"),
        ({"dataset": "x", "epochs": 3}, "no setting 'epochs': did you mean 'training.epochs'?"),
        ({"dataset": "x", "preparation": {"sise": 3}}, "did you mean 'preparation.size'?"),
        ({"dataset": "x", "training": {"epochs": 0}}, "training.epochs = 0"),
        ({"dataset": "x", "training": {"budget": "soon"}}, "write 90s, 15m, 2h or 1h30m"),
        ({"dataset": "x", "preparation": {"plane": "axail"}}, "preparation.plane = 'axail'"),
        ({"dataset": "x", "preparation": {"spacing": [1, 1, -1]}}, "preparation.spacing"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(settings, words):
    with pytest.raises(ConfigError, match=r"knee\.toml") as caught:
        Experiment.parse(settings, "knee.toml")
    assert words in str(caught.value)


def test_files_that_are_missing_or_no_toml_are_named(tmp_path):
    with pytest.raises(MissingFile, match="not there"):
        Experiment.read(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("dataset = ")
    with pytest.raises(ConfigError, match="is not TOML"):
        Experiment.read(tmp_path / "bad.toml")
    with pytest.raises(UnreadableFile, match="cannot be read as TOML"):
        Experiment.read(tmp_path)


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("15m", 900), ("1.5h", 5400), (42, 42)])
def test_durations(text, value):
    assert seconds(text) == value


def test_changing_a_setting_validates_it_and_leaves_the_old_one_alone():
    one = Preparation()
    assert one.changed(plane="coronal").plane == "coronal"
    assert one.plane is None
    with pytest.raises(ValueError, match="plane"):
        one.changed(plane="diagonal")
