"""However label maps are saved, `evaluate` gives a perfect prediction 1, an inventive one less."""

import json
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from condyle.config.requests import EvaluateRequest
from condyle.core import Grid, LabelMap, LabelScheme
from condyle.io import write
from condyle.io.labelmaps import write_names
from condyle.workflows.evaluate import evaluate
from strategies import ORIENTATIONS

GRID = Grid((9, 8, 7), [[-0.7, 0, 0, 5], [0, 0.56, -0.63, 2], [0, 0.42, 0.84, 9], [0, 0, 0, 1]])
NAMES = ("femur", "tibia", "Kniescheibe ü")
BARE = "numbers alone"
NUMBER = count()


def truth(case):
    """Three bones; in the second case one of them is not there."""
    array = np.zeros(GRID.shape, np.uint8)
    array[1:4, 1:6, 1:5], array[5:8, 2:7, 1:4] = 1, 2
    if case == "leg1":
        array[5:8, 2:5, 5:7] = 3
    return LabelMap(array, GRID, LabelScheme.of({name: n for n, name in enumerate(NAMES, 1)}))


def nifti(labels, folder, case):
    write(labels, folder / f"{case}.nii.gz")


def slicer(labels, folder, case):
    write(labels, folder / f"{case}.seg.nrrd")


def bare(labels):
    return labels.with_scheme(LabelScheme.numbered(labels.scheme.ids))


def beside(labels, folder, case):
    write(bare(labels), folder / f"{case}_0000.mha")
    write_names(folder, labels.scheme.to_dict())


def of_nnunet(labels, folder, case):
    write(bare(labels), folder / f"{case}.nii.gz")
    facts = {"labels": {"background": 0, **labels.scheme.to_dict()}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")


def masks(labels, folder, case):
    for name in labels.scheme.names:
        mask = LabelMap(labels.mask(name).astype(np.uint8), labels.grid, LabelScheme.numbered([1]))
        write(mask, folder / case / f"{name}.nii.gz")


def numbers(labels, folder, case):
    write(bare(labels), folder / f"{case}.nii.gz")


WAYS = {
    "names in NIfTI": nifti, "names in .seg.nrrd": slicer, "labels.json": beside,
    "dataset.json of nnU-Net": of_nnunet, "a folder of masks": masks, BARE: numbers,
}  # fmt: skip


@st.composite
def changes(draw):
    """How a label map is saved: its numbers, its names' letters, axes, padding or cutting."""
    numbers = draw(st.lists(st.integers(1, 300), min_size=3, max_size=3, unique=True))
    respelt = [draw(st.sampled_from([name, name.upper(), name.replace("ü", "u\u0308")]))
               for name in NAMES]  # fmt: skip
    sides = st.tuples(*[st.integers(0, 2)] * 3)
    cut = draw(st.booleans())
    return numbers, respelt, draw(st.sampled_from(ORIENTATIONS)), draw(sides), draw(sides), cut


def saved(labels, change, renumbered):
    numbers, names, orientation, before, after, cut = change
    if cut:
        inside = np.argwhere(labels.array)
        labels = labels.cropped(inside.min(0), inside.max(0) + 1)
    array = np.pad(labels.array, list(zip(before, after, strict=True)))
    grid = labels.grid.cropped(-np.array(before), np.array(labels.grid.shape) + after)
    if renumbered:
        table = np.arange(301, dtype=np.uint16)
        table[1:4] = numbers
        scheme = LabelScheme.of(dict(zip(names, numbers, strict=True)))
        labels = LabelMap(table[array], grid, scheme)
    return replace(labels, array=labels.array if renumbered else array, grid=grid).reoriented(
        orientation
    )


def judged(tmp_path, ways, change, invented=""):
    root = tmp_path / str(next(NUMBER))
    by_name = BARE not in ways
    for side, way in zip(("truth", "found"), ways, strict=True):
        (root / side).mkdir(parents=True)
        for case in ("leg1", "leg2"):
            labels = truth(case)
            if side == "found":
                labels = labels.with_array(labels.array.copy())
                if case == "leg2" and invented == "structure":
                    labels.array[8, 7, 6] = 3
                if case == "leg1" and invented == "number":
                    labels.array[0, 0, 0] = 4
                    if way != BARE:
                        scheme = LabelScheme.of({**labels.scheme.to_dict(), "patella": 4})
                        labels = labels.with_scheme(scheme)
                if case == "leg1" and invented == "beyond":
                    array = np.pad(labels.array, ((0, 2), (0, 0), (0, 0)))
                    array[-1, 0, 0] = 2
                    grid = GRID.cropped((0, 0, 0), (11, 8, 7))
                    labels = LabelMap(array, grid, labels.scheme)
                else:
                    labels = saved(labels, change, by_name and invented != "number")
            WAYS[way](labels, root / side, case)
    request = EvaluateRequest(predictions=root / "found", labels=root / "truth", out=root / "out")
    done = evaluate(request)
    assert not done.failed
    return done.summary[-1]["dice_mean"], done.summary


EITHER = st.tuples(st.sampled_from(list(WAYS)), st.sampled_from(list(WAYS))).filter(
    lambda ways: set(ways) != {BARE, "a folder of masks"}  # masks have no numbers
)


@settings(max_examples=25, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(EITHER, changes())
def test_a_perfect_prediction_has_dice_1_however_it_is_saved(tmp_path, ways, change):
    mean, summary = judged(tmp_path, ways, change)
    assert mean == 1
    assert len(summary) == 4
    assert all(row["n_failed"] == 0 for row in summary)


@pytest.mark.parametrize("invented", ["structure", "number", "beyond"])
@settings(max_examples=8, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(EITHER, changes())
def test_who_invents_anything_anywhere_stays_below_1(tmp_path, invented, ways, change):
    assert judged(tmp_path, ways, change, invented)[0] < 1
