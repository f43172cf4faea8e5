"""Built-in comparisons, and models that start from other models' runs."""

import pytest

from condyle.config import Comparison
from condyle.config.comparison import comparisons
from condyle.config.requests import CompareRequest
from condyle.errors import ConfigError, UnknownName


def starting(**parents):
    """A comparison of models, each from the run of another."""
    models = {name: {"network": {"weights": f"model:{of}"}} for name, of in parents.items()}
    return Comparison(dataset="x", models={"start": {}, **models})


def test_the_femur_study_has_eight_models_and_six_of_the_ends():
    study = Comparison.read("femur-study")
    made = {name: study.experiment(name, 0, 0) for name in study.models}
    ends = [name for name, one in made.items() if one.training.hard_slices]
    assert (len(made), len(ends)) == (14, 6)
    assert {made[name].training.hard_slices for name in ends} == {20}
    assert {made[name].preparation.plane for name in ends} == {"axial"}
    assert made["Res34Unet++"].network.name == "unetplusplus-resnet34"
    assert made["Res34Unet++"].preparation.plane == "all"
    assert made["TotSeg"].network.name == "totalsegmentator"
    assert (study.ends, study.planes) == (20, "all")


def test_the_transfer_study_inflates_one_2d_run_in_three_ways():
    study = Comparison.read("transfer-study")
    children = [name for name in study.models if study.parent(name) == "2D"]
    made = [study.experiment(name, 0, 0).network.inflation.strategy for name in children]
    assert made == ["first", "average", "scale"]
    assert study.in_order()[0] == "2D"


def test_a_model_comes_after_the_one_that_it_starts_from():
    order = starting(third="second", second="start").in_order()
    assert order == ["start", "second", "third"]


@pytest.mark.parametrize(
    "parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"c": "a", "a": "b", "b": "a"}]
)
def test_circles_are_refused(parents):
    with pytest.raises(ConfigError, match=r"no model can be trained first: a from (a|b from a)"):
        starting(**parents).in_order()


def test_a_parent_that_is_none_is_named_with_those_there_are():
    with pytest.raises(UnknownName, match="'strat': did you mean 'start'"):
        starting(a="strat").in_order()


def test_a_name_that_is_no_comparison_is_told_with_those_there_are():
    with pytest.raises(UnknownName, match=f"femur-study.*Known: {', '.join(comparisons())}"):
        Comparison.read("femur-studi")


def test_what_the_request_says_wins_over_the_file(tmp_path):
    with pytest.raises(ConfigError, match="no data set given: set `dataset`"):
        CompareRequest(config="femur-study", out=tmp_path).comparison()
    asked = CompareRequest(config="femur-study", dataset=tmp_path, out=tmp_path, epochs=2)
    made = asked.comparison().experiment("Res34Unet", 0, 0)
    assert (made.training.epochs, made.training.batch, made.dataset) == (2, 16, str(tmp_path))
    short = CompareRequest(config="femur-study", dataset=tmp_path, out=tmp_path, budget="5m")
    made = short.comparison().experiment("Res34Unet", 0, 0)
    assert (made.training.epochs, made.training.budget) == (None, 300)
