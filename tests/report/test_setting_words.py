"""The report calls settings by words: no raw key of the TOML file is left."""

from condyle.config import Experiment, Preparation, flattened
from condyle.predict import TrainingRecord
from condyle.report.parts import settings
from condyle.report.setting_words import SETTING_WORDS, words_of


def test_every_setting_of_a_training_has_words():
    tree = Experiment(dataset="legs", preparation=Preparation()).model_dump(mode="json")
    names = [name for name, value in flattened(tree).items() if value != {}]
    assert [name for name in names if name not in SETTING_WORDS] == []
    known = TrainingRecord().model_dump()
    assert [name for name in known if words_of(name) == name and name != "dataset"] == []


def test_a_page_says_what_a_setting_is_and_shows_its_key_to_who_points_at_it():
    page = settings({"training": {"ema": 0.995}, "augmentation": {"p": 0.5}, "memory_gib": 23.5})
    for words in ("Running average of the weights, decay", "Probability of each change", "GiB"):
        assert words in page
    assert '<dt title="training.ema">' in page
    assert ">ema<" not in page.lower()
    assert ">p<" not in page.lower()


def test_models_of_a_comparison_keep_their_names():
    page = settings({"models": {"first <b>": {"network.name": "unet"}, "second": {"seed": 1}}})
    assert "first &lt;b&gt;: Network" in page
    assert "second seed" in page
