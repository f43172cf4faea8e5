import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condyle.core import KNEE, LOWER_LIMB, Grid, LabelMap, LabelScheme
from condyle.errors import DatasetError, GridMismatch, LabelError
from condyle.measure import METRICS, dice, failed_case, score_case, summarise, surface_distances

GRID = Grid.regular((20, 16, 12), spacing=(1, 1, 2))
DIAGONAL = math.sqrt(20**2 + 16**2 + 24**2)


def knee(tibia=None, femur=None):
    array = np.zeros(GRID.shape, np.uint8)
    if tibia:
        array[2 : 2 + tibia, 2:8, 1:5] = 1
    if femur:
        array[2 : 2 + femur, 2:8, 5:11] = 2
    return LabelMap(array, GRID, KNEE)


def rows_of(*pairs):
    return [
        {"case": f"case_{n}", **row}
        for n, (truth, predicted) in enumerate(pairs)
        for row in (score_case(truth, predicted) if predicted else failed_case(truth))
    ]


def test_a_row_holds_what_the_functions_say():
    truth, predicted = knee(tibia=6), knee(tibia=9)
    row = score_case(truth, predicted, tolerance_mm=1.0)[0]
    masks = truth.mask("tibia"), predicted.mask("tibia")
    distances = surface_distances(*masks, GRID.spacing)
    assert row["structure"] == "tibia"
    assert row["note"] == ""
    assert row["dice"] == dice(*masks)
    assert row["nsd"] == pytest.approx(distances.nsd(1.0))
    assert row["hd95_mm"] == distances.hd95()
    assert row["hausdorff_mm"] == 3
    assert row["volume_truth_cm3"] == pytest.approx(truth.volume_cm3("tibia"))
    assert row["volume_error_cm3"] == pytest.approx(0.144)
    assert row["volume_similarity"] == pytest.approx(1.2)


def test_missed_invented_and_absent_structures_say_so():
    notes = {}
    for truth, predicted in ((6, None), (None, 6), (None, None), (6, 6)):
        row = score_case(knee(tibia=truth), knee(tibia=predicted))[0]
        notes[truth, predicted] = row["note"], row["dice"], row["hd95_mm"], row["nsd"]
    assert notes[6, None] == ("missed", 0, math.inf, 0)
    assert notes[None, 6] == ("invented", 0, math.inf, 0)
    assert notes[6, 6] == ("", 1, 0, 1)
    absent = score_case(knee(), knee())[0]
    assert absent["note"] == "absent in both"
    assert all(math.isnan(absent[metric]) for metric in METRICS)
    assert absent["volume_truth_cm3"] == 0


def test_structures_are_matched_by_name():
    truth = knee(tibia=6, femur=4)
    swapped = np.choose(truth.array, [0, 7, 1]).astype(np.uint8)
    other = LabelScheme.of({"femur": 1, "tibia": 7, "patella": 3})
    assert [r["dice"] for r in score_case(truth, LabelMap(swapped, GRID, other))] == [1, 1]
    with pytest.raises(LabelError, match="has no fibula, pelvis"):
        score_case(truth.with_scheme(LOWER_LIMB), truth)


def test_other_grids_are_refused():
    moved = LabelMap(knee().array, Grid.regular(GRID.shape, (1, 1, 2), (0, 0, 5)), KNEE)
    with pytest.raises(GridMismatch, match="corners 5 mm apart"):
        score_case(knee(), moved)


def test_a_failed_case_has_the_worst_scores_and_no_one_gains():
    tibia, femur = failed_case(knee(tibia=6))
    assert tibia["note"] == "failed"
    assert tibia["dice"] == tibia["nsd"] == tibia["volume_similarity"] == 0
    assert tibia["hd95_mm"] == tibia["assd_mm"] == tibia["hausdorff_mm"] == pytest.approx(DIAGONAL)
    assert tibia["volume_error_cm3"] == -tibia["volume_truth_cm3"]
    assert (femur["note"], femur["dice"]) == ("failed", 0)  # who knows what it would have found
    bad = score_case(knee(tibia=1), knee(tibia=15))[0]
    for name, metric in METRICS.items():
        if metric.better == "higher":
            assert bad[name] >= tibia[name] == metric.worst
        if metric.better == "lower":
            assert bad[name] <= tibia[name]


def test_the_summary_counts_what_the_means_hide():
    rows = rows_of(
        (knee(tibia=6, femur=4), knee(tibia=6, femur=4)),
        (knee(tibia=6), knee(tibia=6)),
        (knee(tibia=6, femur=4), knee(femur=4)),
        (knee(tibia=6, femur=4), None),
    )
    tibia, femur, mean = summarise(rows)
    assert [row["structure"] for row in (tibia, femur, mean)] == ["tibia", "femur", "mean"]
    assert (tibia["n"], tibia["n_absent"], tibia["n_failed"]) == (4, 0, 2)
    assert (femur["n"], femur["n_absent"], femur["n_failed"]) == (3, 1, 1)
    assert (mean["n"], mean["n_absent"], mean["n_failed"]) == (4, 1, 3)
    assert tibia["dice_mean"] == 0.5
    assert tibia["dice_sd"] == pytest.approx(np.std([1, 1, 0, 0], ddof=1))
    assert femur["dice_median"] == 1
    assert tibia["hd95_mm_mean"] == pytest.approx(DIAGONAL / 2)
    assert mean["dice_mean"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)


def test_a_missed_structures_volume_error_is_its_own_volume():
    """Rows, structures and their mean follow one rule; cm³ of bones are not averaged."""
    rows = rows_of((knee(tibia=6, femur=4), knee(tibia=9)), (knee(tibia=6, femur=6), knee(tibia=6)))
    tibia, femur, mean = summarise(rows)
    errors = [row["volume_error_cm3"] for row in rows if row["structure"] == "femur"]
    assert errors == [-row["volume_truth_cm3"] for row in rows if row["structure"] == "femur"]
    assert femur["volume_error_cm3_median"] == pytest.approx(np.median(errors)) == -0.36
    assert femur["volume_error_cm3_mean"] == pytest.approx(np.mean(errors))
    assert [row["volume_similarity"] for row in rows if row["note"] == "missed"] == [0, 0]
    assert femur["volume_similarity_mean"] == 0
    both = tibia["volume_similarity_mean"], femur["volume_similarity_mean"]
    assert mean["volume_similarity_mean"] == pytest.approx(np.mean(both))
    assert math.isnan(mean["volume_error_cm3_mean"])
    assert math.isnan(mean["volume_error_cm3_median"])


def test_what_a_prediction_invents_is_a_row_whether_it_has_a_name_or_not():
    predicted = knee(tibia=6, femur=4)
    predicted.array[18:, 14:, :2] = 7
    known = LabelScheme.of({"patella": 2, "tibia": 1})
    truth = knee(tibia=6).with_scheme(LabelScheme.of({"tibia": 1}))
    rows = score_case(truth, predicted.with_scheme(known))
    found = {row["structure"]: (row["note"], row["dice"], row["fp"]) for row in rows}
    assert found == {
        "tibia": ("", 1, 0), "patella": ("invented", 0, 144), "label_7": ("invented", 0, 8),
    }  # fmt: skip


def test_what_is_invented_beyond_the_truths_extent_counts():
    truth = knee(tibia=6)
    beyond = np.pad(truth.array, ((0, 2), (0, 0), (0, 0)))
    beyond[-2:, :2, :2] = 1
    larger = LabelMap(beyond, GRID.cropped((0, 0, 0), (22, 16, 12)), KNEE)
    assert score_case(truth, larger)[0]["fp"] == 8
    cut = truth.cropped((2, 0, 0), (8, 10, 6)).reoriented("SPL")
    assert score_case(truth, cut)[0]["dice"] == score_case(cut, truth)[0]["dice"] == 1


def test_a_structure_that_is_nowhere_has_no_mean():
    femur = summarise(rows_of((knee(tibia=6), knee(tibia=6))))[1]
    assert (femur["n"], femur["n_absent"]) == (0, 1)
    assert math.isnan(femur["dice_mean"])
    assert math.isnan(femur["dice_sd"])


def test_cases_without_names_are_refused():
    rows = score_case(knee(tibia=6), knee(tibia=6))
    with pytest.raises(DatasetError, match="two rows for tibia"):
        summarise([*rows, *rows])


def test_a_structure_has_the_same_scores_alone_and_among_others():
    alone = score_case(knee(femur=4), knee(femur=5))[1]
    among = score_case(knee(tibia=6, femur=4), knee(tibia=9, femur=5))[1]
    assert among == alone
    assert among["assd_mm"] > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2), st.integers(1, 5))
def test_what_nobody_labelled_is_not_judged(seed, axis, kept):
    rng = np.random.default_rng(seed)
    shape = (6, 6, 6)
    grid = Grid.regular(shape, rng.uniform(0.5, 3, 3))
    true, found = (rng.integers(0, 3, shape, np.uint8) for _ in range(2))
    stop = [kept if n == axis else 6 for n in range(3)]
    unknown = np.ones(shape, bool)
    unknown[tuple(map(slice, stop))] = False
    truth = LabelMap(true, grid, KNEE)
    predicted = LabelMap(found, grid, KNEE)
    marked = np.where(unknown, 9, true).astype(np.uint8)
    partly = LabelMap(marked, grid, LabelScheme.of({**KNEE.to_dict(), "ignore": 9}))
    rest = score_case(truth.cropped((0, 0, 0), stop), predicted.cropped((0, 0, 0), stop))
    rows = score_case(partly, predicted)
    for row, other in zip(rows, rest, strict=True):
        of_the_scan = {"diagonal_mm", "scan_cm3"}
        assert all(row[name] >= other[name] for name in of_the_scan)
        for name in row.keys() - of_the_scan:
            assert row[name] == pytest.approx(other[name], nan_ok=True), name
    assert {row["note"] for row in failed_case(partly)} == {"failed"}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["left out", "nothing predicted"]))
def test_nobody_gains_by_failing(seed, way):
    """Whatever a model answers, leaving a case or a structure out never makes a figure better.

    Figures with a sign say which way a volume is wrong, and are no measure of how well.
    """
    rng = np.random.default_rng(seed)
    grid = Grid.regular((5, 4, 4), rng.uniform(0.5, 3, 3))
    maps = rng.choice(3, (4, 2, *grid.shape), p=rng.dirichlet((3, 1, 1))).astype(np.uint8)
    maps[:, 0, 0, 0] = [1, 2, 0, 0]  # both structures are there
    pairs = [[LabelMap(array, grid, KNEE) for array in pair] for pair in maps]
    honest = summarise(rows_of(*pairs))
    predicted = pairs[0][1]
    without = predicted.with_array(np.where(predicted.array == 1, 0, predicted.array))
    pairs[0][1] = None if way == "left out" else without
    for before, after in zip(honest, summarise(rows_of(*pairs)), strict=True):
        for name, metric in METRICS.items():
            for word in ("mean", "median") if metric.better != "nearer" else ():
                was, now = before[f"{name}_{word}"], after[f"{name}_{word}"]
                assert abs(now - metric.best) >= abs(was - metric.best) - 1e-9, f"{name}_{word}"
