"""Predictions that hold what the truth of that case lacks, among cases whose truth has it.

Kin to MIC-DKFZ/nnUNet#1310, #2746. Kind: B. Label maps without names, some of them empty.
"""

import csv

import nibabel
import numpy as np


def cubes(*numbers):
    array = np.zeros((22, 18, 20), np.uint8)
    for number in numbers:
        array[1:7, 5 * number : 5 * number + 4, 3:9] = number
    return array


FOLDERS = {
    "pred": {"both": (1, 2), "one": (1, 2)}, "truth": {"both": (1, 2), "one": (1,)},
    "alone": {"one": (1, 2)}, "alone_true": {"one": (1,)},
    "empty": {"both": (1, 2), "none": (1, 2)}, "empty_true": {"both": (1, 2), "none": ()},
}  # fmt: skip


def make(folder):
    for name, cases in FOLDERS.items():
        (folder / name).mkdir()
        for case, numbers in cases.items():
            image = nibabel.Nifti1Image(cubes(*numbers), np.diag([1, 1, 2, 1.0]))
            image.to_filename(folder / name / f"{case}.nii.gz")


def judged(field, predictions, labels):
    out = field.out / predictions
    said = field.condyle("evaluate", field.given / predictions, field.given / labels, "--out", out)
    assert said.code == 0, said.text
    with (out / "metrics.csv").open() as stream:
        rows = {(row["case"], row["structure"]): row for row in csv.DictReader(stream)}
    with (out / "summary.csv").open() as stream:
        means = {row["structure"]: float(row["dice_mean"]) for row in csv.DictReader(stream)}
    return rows, means, said.text


def right(field):
    rows, means, _ = judged(field, "pred", "truth")
    assert rows["one", "label_2"]["note"] == "invented"
    assert rows["one", "label_2"]["dice"] == "0.0"
    assert means == {"label_1": 1, "label_2": 0.5, "mean": 0.75}
    rows, means, said = judged(field, "alone", "alone_true")
    assert rows["one", "label_2"]["note"] == "invented"
    assert "the truth knows no label_2 (1 case)" in said
    assert means["mean"] == 0.5
    rows, means, _ = judged(field, "empty", "empty_true")
    assert {rows["none", name]["note"] for name in ("label_1", "label_2")} == {"invented"}
    assert means["mean"] == 0.5
