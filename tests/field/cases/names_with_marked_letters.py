"""Names with marked letters in two spellings: scans from a Mac (NFD), tables from elsewhere (NFC).

Of our own. Kind: G.
"""

import unicodedata

import nibabel
import numpy as np

from condyle.io import open_dataset


def make(folder):
    labels = np.zeros((8, 8, 6), np.uint8)
    labels[2:5, 2:5, 2:5] = 1
    for name, form, array in (
        ("images", "NFD", labels.astype(np.int16)),
        ("labels", "NFC", labels),
    ):
        (folder / name).mkdir()
        for case in ("Jürgen_1", "Zoë_2"):
            path = folder / name / f"{unicodedata.normalize(form, case)}.nii.gz"
            nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)
    table = "case,patient\nJürgen_1,a\nZoë_2,a\n"
    (folder / "patients.csv").write_text(unicodedata.normalize("NFD", table), encoding="utf-8")


def right(field):
    cases = {case.id: (case.label is not None, case.patient) for case in open_dataset(field.given)}
    assert cases == {"Jürgen_1": (True, "a"), "Zoë_2": (True, "a")}
    labels = field.given / "labels"
    said = field.condyle("evaluate", labels, field.given / "images", "--out", field.out)
    assert said.code == 0
    assert "1.000" in said.text
