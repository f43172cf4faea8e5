import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from condyle.errors import ConfigError, GridMismatch
from condyle.measure.probability_histogram import EDGES, HALVES, ProbabilityHistogram


def scores(seed: int, n: int = 4000, sure: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """A truth, and probabilities that know something of it, as halves."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.2
    odds = sure * (truth * 2.0 - 1) + rng.normal(0, 2, n)
    return truth, (1 / (1 + np.exp(-odds))).astype(np.float16)


def upper_ends(probability: np.ndarray) -> np.ndarray:
    """Each probability as the largest half in its bin: bins then lose nothing."""
    bins = np.searchsorted(EDGES[1:-1], probability)
    return HALVES[np.searchsorted(HALVES, EDGES[1:], side="right") - 1][bins]


@pytest.mark.parametrize("seed", range(5))
def test_curve_and_average_precision_are_those_of_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    truth, probability = scores(seed)
    counts = ProbabilityHistogram.count(truth, probability)
    exact = metrics.average_precision_score(truth, probability.astype(float))
    assert counts.average_precision == pytest.approx(exact, abs=2e-3)

    binned = upper_ends(probability)
    counts = ProbabilityHistogram.count(truth, binned)
    assert counts.average_precision == pytest.approx(
        metrics.average_precision_score(truth, binned), rel=1e-12
    )
    precision, recall, _ = metrics.precision_recall_curve(truth, binned)
    assert np.allclose(counts.precision_recall.precision, precision[::-1], rtol=1e-12)
    assert np.allclose(counts.precision_recall.recall, recall[::-1], rtol=1e-12)


@pytest.mark.parametrize("bins", [5, 10, 20])
def test_the_reliability_diagram_is_that_of_scikit_learn(bins):
    calibration = pytest.importorskip("sklearn.calibration")
    truth, probability = scores(bins)
    observed, expected = calibration.calibration_curve(
        truth, probability.astype(float), n_bins=bins
    )
    found = ProbabilityHistogram.count(truth, probability).reliability(bins)
    assert np.allclose(found.observed, observed, rtol=1e-12)
    assert np.allclose(found.expected, expected, rtol=1e-9)
    assert found.voxels.sum() == truth.size


def test_the_calibration_error_is_the_mean_gap_of_ten_bins_beyond_the_sure_background():
    truth, probability = scores(7)
    p = probability.astype(float)
    kept, gap = p > 0.01, 0.0
    for low in np.arange(10) / 10:
        here = kept & (p > low) & (p <= low + 0.1)
        gap += here.sum() * abs(p[here].mean() - truth[here].mean())
    assert ProbabilityHistogram.count(truth, probability).calibration_error == pytest.approx(
        gap / kept.sum(), rel=1e-9
    )


def test_a_calibrated_network_has_no_error_and_a_boastful_one_has():
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 0.5, 200_000)
    truth = rng.random(p.size) < p
    assert ProbabilityHistogram.count(truth, p).calibration_error < 0.01
    assert ProbabilityHistogram.count(truth, p > 0.5).calibration_error > 0.15
    sure_background = np.zeros(10**6)
    more = ProbabilityHistogram.count(sure_background > 0, sure_background)
    boastful = ProbabilityHistogram.count(truth, p > 0.5)
    assert (boastful + more).calibration_error == boastful.calibration_error


@given(st.integers(0, 10_000), st.integers(1, 60))
def test_cases_counted_apart_add_up_and_come_back_from_their_rows(seed, cut):
    truth, probability = scores(seed, 61)
    whole = ProbabilityHistogram.count(truth, probability)
    parts = [
        ProbabilityHistogram.count(truth[part], probability[part])
        for part in (slice(cut), slice(cut, None))
    ]
    total = sum(parts, ProbabilityHistogram.none())
    text = io.StringIO()
    writer = csv.DictWriter(text, ["above", "inside", "outside", "total"])
    writer.writeheader()
    writer.writerows(total.rows())
    read = ProbabilityHistogram.of(csv.DictReader(io.StringIO(text.getvalue())))
    for counts in (total, read):
        assert np.array_equal(counts.inside, whole.inside)
        assert np.array_equal(counts.outside, whole.outside)
        assert np.allclose(counts.total, whole.total)
    assert whole.voxels == 61


def test_what_nobody_labelled_is_not_counted():
    truth, probability = scores(1)
    known = np.arange(truth.size) % 3 > 0
    some = ProbabilityHistogram.count(truth, probability, known)
    same = ProbabilityHistogram.count(truth[known], probability[known])
    assert np.array_equal(some.inside, same.inside)
    assert np.array_equal(some.outside, same.outside)


def test_counts_do_not_depend_on_the_shape_of_the_scan():
    truth, probability = scores(2)
    cube = ProbabilityHistogram.count(truth.reshape(20, 20, 10), probability.reshape(20, 20, 10))
    assert (
        cube.average_precision == ProbabilityHistogram.count(truth, probability).average_precision
    )


def test_where_the_structure_is_nowhere_nothing_is_claimed():
    nowhere = ProbabilityHistogram.count(np.zeros(9, bool), np.linspace(0, 1, 9))
    assert np.isnan(nowhere.average_precision)
    assert np.isnan(nowhere.precision_recall.recall).all()
    assert nowhere.calibration_error > 0.4  # what was expected and is not there
    nothing = ProbabilityHistogram.none()
    assert np.isnan(nothing.average_precision)
    assert np.isnan(nothing.calibration_error)
    assert nothing.reliability().voxels.size == 0


def test_zero_with_a_sign_and_one_are_probabilities():
    counts = ProbabilityHistogram.count([False, True], [-0.0, 1.0])
    assert counts.inside[-1] == counts.outside[0] == 1
    assert counts.average_precision == 1


@pytest.mark.parametrize("bad", [1.1, -0.2, float("nan"), float("inf")])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ConfigError, match="0 to 1"):
        ProbabilityHistogram.count([True, False], [0.5, bad])


def test_shapes_must_be_the_same():
    with pytest.raises(GridMismatch, match="shapes"):
        ProbabilityHistogram.count([True, False], [0.5, 0.5, 0.5])
    with pytest.raises(ConfigError, match="100"):
        ProbabilityHistogram.none().reliability(7)
