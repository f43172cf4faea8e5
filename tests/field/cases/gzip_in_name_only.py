""".nii.gz that is not packed, .nii that is, and .nii.gz packed twice; a zip that is called .nii.gz.

Kin to nipy/nibabel#966, #898. Kind: I.
"""

import gzip
import zipfile

import nibabel
import numpy as np

from condyle.io import read

ARRAY = np.arange(16 * 14 * 12, dtype=np.int16).reshape(16, 14, 12)


def make(folder):
    raw = nibabel.Nifti1Image(ARRAY, np.diag([1, 1, 2, 1.0])).to_bytes()
    (folder / "plain.nii.gz").write_bytes(raw)
    (folder / "packed.nii").write_bytes(gzip.compress(raw))
    (folder / "twice.nii.gz").write_bytes(gzip.compress(gzip.compress(raw)))
    (folder / "other").mkdir()
    with zipfile.ZipFile(folder / "other" / "zipped.nii.gz", "w") as archive:
        archive.writestr("leg.nii", raw)


def right(field):
    for name in ("plain.nii.gz", "packed.nii", "twice.nii.gz"):
        assert np.array_equal(read(field.given / name).array, ARRAY), name
    said = field.condyle("segment", field.run, field.given, "--out", field.out)
    assert said.code == 0
    assert "other: a folder beside scans" in said.text
    assert len(list(field.out.glob("*.nii.gz"))) == 3
    said = field.condyle("segment", field.run, field.given / "other", "--out", field.out / "o")
    assert said.code == 2
    assert "it is a zip archive" in said.text
