"""Predictions whose labels.json numbers the structures otherwise than the truth's does.

Kin to wasserth/TotalSegmentator#115, Project-MONAI/model-zoo#396. Kind: B.
"""

import csv
import json

import nibabel
import numpy as np


def knee(tibia, femur):
    array = np.zeros((20, 24, 18), np.uint8)
    array[3:9, 2:22, 3:15], array[11:18, 4:20, 3:16] = tibia, femur
    return array


SIDES = {
    "truth": {"femur": 1, "tibia": 2}, "swapped": {"Tibia": 1, "femur": 2},
    "more": {"femur": 5, "tibia": 9, "patella": 1}, "strange": {"left lung": 1, "right lung": 2},
}  # fmt: skip


def make(folder):
    for side, names in SIDES.items():
        (folder / side).mkdir()
        numbers = {name.lower(): number for name, number in names.items()}
        array = knee(numbers.get("tibia", 2), numbers.get("femur", 1))
        for case in ("leg1", "leg2"):
            nibabel.Nifti1Image(array, np.eye(4)).to_filename(folder / side / f"{case}.nii.gz")
        (folder / side / "labels.json").write_text(json.dumps(names))
    (folder / "mapless").mkdir()
    for case in ("leg1", "leg2"):
        nibabel.Nifti1Image(knee(2, 1), np.eye(4)).to_filename(
            folder / "mapless" / f"{case}_0000.nii.gz"
        )


def dice(field, predictions):
    out = field.out / predictions
    said = field.condyle("evaluate", field.given / predictions, field.given / "truth", "--out", out)
    assert said.code == 0, said.text
    with (out / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["structure"] for row in rows} == {"femur", "tibia"}
    assert len(rows) == 4
    return {row["dice"] for row in rows}, said.text


def right(field):
    for predictions in ("swapped", "more"):
        assert dice(field, predictions)[0] == {"1.0"}, predictions
    found, said = dice(field, "mapless")
    assert found == {"1.0"}
    assert "the truth's names were taken for them" in said
    said = field.condyle(
        "evaluate", field.given / "strange", field.given / "truth", "--out", field.out / "strange"
    )
    assert said.code == 2
    assert "left lung = 1, right lung = 2" in said.text
    assert "femur = 1, tibia = 2" in said.text
