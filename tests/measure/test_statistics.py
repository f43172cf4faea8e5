import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from condyle.errors import DatasetError
from condyle.measure.statistics import differences, holm, of_patients, standings


def table(*rows):
    return {
        f"model {m}": {f"p{n}": float(v) for n, v in enumerate(row)} for m, row in enumerate(rows)
    }


def test_a_clear_winner_is_first_and_significant():
    rng = np.random.default_rng(0)
    worse = rng.uniform(0.7, 0.9, 12)
    scores = table(worse, worse + 0.03 + rng.uniform(0, 0.02, 12))
    first, second = standings(scores)
    assert (first.model, first.rank, first.rank_low, first.rank_high) == ("model 1", 1, 1, 1)
    assert second.rank == 2
    [gap] = differences(scores)
    assert gap.high < 0
    assert gap.significant
    assert (gap.wins, gap.losses) == (0, 12)
    [lower] = differences(scores, better="lower")
    assert (lower.wins, lower.losses) == (12, 0)
    assert standings(scores, better="lower")[0].model == "model 0"


def test_the_same_model_twice_is_no_different():
    same = np.random.default_rng(1).uniform(0.7, 0.9, 10)
    scores = table(same, same)
    assert [s.rank for s in standings(scores)] == [1.5, 1.5]
    [gap] = differences(scores)
    assert (gap.mean, gap.low, gap.high, gap.p) == (0, 0, 0, 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(6, 30))
def test_p_is_scipys_where_there_are_no_ties(seed, patients):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, patients))
    [gap] = differences(table(a, b))
    assert gap.p == pytest.approx(stats.wilcoxon(a - b).pvalue, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(6, 10))
def test_p_with_ties_and_zeros_is_that_of_all_signs(seed, patients):
    gaps = np.random.default_rng(seed).integers(-2, 3, patients).astype(float)
    scores = table(gaps, np.zeros(patients))
    [gap] = differences(scores)
    if not gaps.any():
        assert gap.p == 1
        return
    wanted = stats.wilcoxon(gaps, zero_method="pratt", method=stats.PermutationMethod())
    assert gap.p == pytest.approx(wanted.pvalue, abs=1e-9)


def test_holm_is_the_textbooks():
    tests = [0.01, 0.04, 0.03, math.nan, 0.005]
    assert holm(tests)[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(holm(tests)[3])
    assert holm(tests)[4] == pytest.approx(0.02)
    assert holm([0.9, 0.8]) == [1, 1]


def test_few_patients_get_no_p():
    [gap] = differences(table([0.9] * 5, [0.1] * 5))
    assert math.isnan(gap.p)
    assert not gap.significant


def test_a_model_without_a_patient_is_refused():
    scores = table([0.9, 0.8], [0.7, 0.6])
    del scores["model 1"]["p0"]
    with pytest.raises(DatasetError, match="model 1 has no figure for p0"):
        standings(scores)


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        [one] = standings(table(rng.normal(0.8, 0.1, 30)))
        held += one.low <= 0.8 <= one.high
    assert 0.88 <= held / 200 <= 0.99


def test_two_copies_of_a_model_differ_significantly_no_more_often_than_chance_says():
    """Two copies err alike on easy and hard patients, and by chance beside that."""
    rng = np.random.default_rng(7)
    patients = rng.beta(12, 2, 60)  # how hard each one is: skewed, as Dice is
    called = 0
    for _ in range(200):
        drawn = rng.choice(patients, 20)
        copies = np.clip(drawn + 0.02 * rng.standard_t(4, (2, 20)), 0, 1)
        called += differences(table(*copies))[0].significant
    assert 0.02 <= called / 200 <= 0.08


def row(patient, structure, dice, note="", case="scan"):
    figures = {"dice": dice, "volume_similarity": dice, "note": note}
    return {"patient": patient, "case": patient + case, "structure": structure, **figures}


def test_a_patient_counts_once_however_many_scans_and_seeds():
    rows = [row("a", "tibia", 0.8), row("a", "tibia", 0.6), row("a", "femur", 0.9)]
    rows += [row("a", "tibia", 0.5, case="other"), row("b", "tibia", 0.4)]
    scores = of_patients({"model": rows}, "dice")
    assert scores == {"model": {"a": pytest.approx(((0.7 + 0.9) / 2 + 0.5) / 2), "b": 0.4}}


def test_who_rightly_finds_nothing_is_better_than_who_invents():
    right = [row("a", "tibia", 0.8), row("a", "femur", math.nan, "absent in both")]
    wrong = [row("a", "tibia", 0.8), row("a", "femur", 0, "invented")]
    scores = of_patients({"right": right, "wrong": wrong}, "dice")
    assert scores == {"right": {"a": 0.9}, "wrong": {"a": 0.4}}
    assert of_patients({"right": right}, "dice") == {"right": {"a": 0.8}}


def test_a_case_that_a_model_was_not_asked_is_no_success():
    rows = [row("a", "tibia", 0.8), row("b", "tibia", 0.2)]
    with pytest.raises(DatasetError, match="no row for tibia of case bscan"):
        of_patients({"all": rows, "one": rows[:1]}, "dice")


def test_a_failure_does_not_make_up_for_other_errors():
    rows = [row("a", "tibia", 1.2), row("b", "tibia", 0, "missed")]
    up, down = (of_patients({"m": rows}, "volume_similarity", side)["m"] for side in (1, -1))
    assert (up["b"], down["b"]) == (2, 0)
