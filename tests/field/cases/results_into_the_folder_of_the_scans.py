"""Results are sent to the folder of the scans: refused before anything is computed.

Kin to CompVis/depth-fm#12, cdcseacave/openMVS#22. Kind: A.
"""

import os

import nibabel
import numpy as np
import pytest


def make(folder):
    array = np.zeros((16, 16, 10), np.int16)
    array[4:10, 4:12, 3:8] = 1
    for part in ("scans", "labels"):
        (folder / part).mkdir()
        for name in ("leg1", "leg2"):
            values = array * 900 - 300 if part == "scans" else array
            image = nibabel.Nifti1Image(values, np.diag([1, 1, 3, 1.0]))
            image.to_filename(folder / part / f"{name}.nii.gz")


def right(field):
    scans, labels = field.given / "scans", field.given / "labels"
    before = {path: path.read_bytes() for path in field.given.rglob("*.nii.gz")}
    (field.given / "link").symlink_to(scans, target_is_directory=True)
    one = scans / "leg1.nii.gz"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(scans)
        for words in (
            ["segment", field.run, scans, "--out", scans],
            ["segment", field.run, "leg1.nii.gz", "--out", "."],
            ["segment", field.run, one, "--out", "../link"],
            ["segment", field.run, os.path.relpath(one), "--out", "../labels/../scans"],
            ["refine", labels, "--smooth-mm", 2, "--out", labels],
            ["refine", "../labels", "--fill-holes", "--out", labels],
        ):
            said = field.condyle(*words)
            assert said.code == 2, words
            assert "is one of the inputs" in said.text, words
            after = {p: p.read_bytes() for p in field.given.rglob("*") if p.is_file()}
            assert after == before, words
