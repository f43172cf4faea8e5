"""The interval about the expected Dice holds the true one as often as it says."""

import json
import logging

import numpy as np
import pytest
from scipy.stats import binom, spearmanr

from condyle.errors import DatasetError
from condyle.quality.calibration import FEWEST, Calibration, Observation, Signs


def drawn(rng, patients, scans=2, structure="femur"):
    """Scans of patients, each patient with an error of its own: what is not independent."""
    found = []
    for patient in range(patients):
        own = rng.normal(0, 0.3)
        for _ in range(scans):
            quality = rng.normal(1.5, 1.5)
            signs = Signs(
                agreement=float(1 / (1 + np.exp(-(quality + rng.normal(0, 0.5))))),
                confidence=float(1 / (1 + np.exp(-(quality + rng.normal(0, 1))))),
                volume=float(abs(rng.normal(0, 0.2))),
                distance=float(rng.uniform(0.6, 1.5)),
                rules=int(rng.integers(2)),
            )
            dice = float(1 / (1 + np.exp(-(quality + own + rng.normal(0, 0.4)))))
            found.append(Observation(f"p{patient}", structure, signs, dice))
    return found


def held(calibration, seen):
    told = calibration.expect(seen.structure, seen.signs)
    return told.low <= seen.dice <= told.high


@pytest.mark.parametrize("patients", [FEWEST, 20])
def test_it_holds_the_truth_as_often_as_it_says(patients):
    draws = 100
    hits = 0
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        calibration = Calibration.fit(drawn(rng, patients))
        hits += held(calibration, drawn(rng, 1, 1)[0])
    assert binom.ppf(0.005, draws, 0.9) <= hits
    # never proved, yet usual: not much wider than it needs to be
    assert hits <= binom.ppf(0.995, draws, 1 - 0.5 / (patients + 1))


def test_the_order_of_scans_is_found_and_every_sign_moves_it_one_way():
    rng = np.random.default_rng(1)
    calibration = Calibration.fit(drawn(rng, 30))
    fresh = drawn(rng, 60, 1)
    told = [calibration.expect("femur", x.signs) for x in fresh]
    assert spearmanr([x.dice for x in told], [x.dice for x in fresh]).statistic > 0.8
    best = Signs(0.95, 0.9, 0.0, 0.8, 0)
    others = [
        Signs(0.5, 0.9, 0, 0.8, 0),
        Signs(0.95, 0.4, 0, 0.8, 0),
        Signs(0.95, 0.9, 2, 0.8, 0),
        Signs(0.95, 0.9, 0, 9, 0),
        Signs(0.95, 0.9, 0, 0.8, 2),
    ]
    for worse in others:
        assert calibration.expect("femur", worse).dice <= calibration.expect("femur", best).dice
    for one in told:
        assert 0 <= one.low <= one.dice <= one.high <= 1


def test_too_few_patients_are_refused_however_many_scans_they_have():
    with pytest.raises(DatasetError, match=f"of {FEWEST} patients or more, here are 9"):
        Calibration.fit(drawn(np.random.default_rng(0), 9, scans=20))


def test_a_structure_seen_in_few_patients_is_told_nothing_of(caplog):
    rng = np.random.default_rng(0)
    with caplog.at_level(logging.WARNING, "condyle"):
        calibration = Calibration.fit(drawn(rng, 12) + drawn(rng, 4, structure="pelvis"))
    assert "pelvis was found in 4 held-out patients" in caplog.text
    assert calibration.expect("pelvis", Signs(1, 1, 0, 1, 0)) is None
    assert calibration.expect("femur", Signs(1, 1, 0, 1, 0)) is not None


def test_a_calibration_survives_json():
    calibration = Calibration.fit(drawn(np.random.default_rng(0), 12))
    again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration


def test_perfect_and_lost_scans_do_no_harm():
    seen = [
        Observation(f"p{n}", "femur", Signs(float(n % 2), 0.5, 0.0, 1.0, 0), float(n % 2))
        for n in range(20)
    ]
    calibration = Calibration.fit(seen)
    assert calibration.expect("femur", Signs(1.0, 0.5, 0.0, 1.0, 0)).dice > 0.95
    assert calibration.expect("femur", Signs(0.0, 0.5, 0.0, 1.0, 0)).dice < 0.05
