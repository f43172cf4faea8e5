"""patients.csv as Excel writes it: semicolons, tabs, file names for cases, other encodings.

Kin to mui/mui-x#1656, UCSD-AI4H/COVID-CT#11. Kind: H.
"""

import json

import nibabel
import numpy as np

from condyle.io import open_dataset

CASES = [f"{patient}_{side}" for patient in ("ada", "bea", "cyd", "dée") for side in ("l", "r")]


def rows(mark=",", head=("case", "patient"), ending=""):
    table = [head, *((case + ending, case[:3]) for case in CASES)]
    return [mark.join(row) for row in table]


TABLES = {
    "semicolons": "\r\n".join(rows(";")).encode("cp1252"),
    "tabs": "\n".join(rows("\t")).encode("utf-16"),
    "names": "\n".join(rows(ending=".nii.gz")).encode("utf-8"),
    "titles": "\r".join(rows(", ", ("Case ", " PATIENT"))).encode("utf-8-sig"),
}
WRONG = {
    "stranger": "\n".join([*rows(), "eva_l,eva"]).encode(),
    "columns": "\n".join(rows(head=("scan", "patient"))).encode(),
    "two patients": "\n".join([*rows(), "ada_l,bea"]).encode(),
}


def make(folder):
    for kind, table in (TABLES | WRONG).items():
        for number, case in enumerate(CASES):
            labels = np.zeros((12, 12, 8), np.uint8)
            labels[2:8, 2:8, 1 + number % 3 : 6] = 1
            for name, array in (
                ("images", labels.astype(np.int16) * 700 - 500),
                ("labels", labels),
            ):
                (folder / kind / name).mkdir(parents=True, exist_ok=True)
                image = nibabel.Nifti1Image(array, np.diag([1, 1, 1 + number / 10, 1]))
                image.to_filename(folder / kind / name / f"{case}.nii.gz")
        (folder / kind / "patients.csv").write_bytes(table)


def right(field):
    for kind in TABLES:
        found = {case.id: case.patient for case in open_dataset(field.given / kind)}
        assert found == {case: case[:3] for case in CASES}, kind
    out = field.out / "names"
    said = field.condyle("import", field.given / "names", "--split", "4-fold", "--out", out)
    assert said.code == 0
    for fold in json.loads((out / "splits_final.json").read_text(encoding="utf-8")):
        sides = [{case[:3] for case in fold[side]} for side in ("train", "val")]
        assert not sides[0] & sides[1]
    reasons = {"stranger": "eva_l", "columns": "there is no case", "two patients": "ada_l two"}
    for kind, reason in reasons.items():
        said = field.condyle("check", field.given / kind)
        assert said.code == 2, kind
        assert reason in said.text
