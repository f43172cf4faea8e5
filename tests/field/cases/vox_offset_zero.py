"""A .nii that says its voxels begin at byte 0, as some writers do, with zeros at its border.

Kin to nipy/nibabel#213, epam/mriviewer#249. Kind: J. Read as it says, all would be shifted.
"""

import nibabel
import numpy as np

from condyle.io import read

ARRAY = np.zeros((24, 22, 16), np.int16)
ARRAY[6:14, 6:18, 4:12] = 900


def make(folder):
    for kind, at in ((nibabel.Nifti1Image, 108), (nibabel.Nifti2Image, 168)):
        data = bytearray(kind(ARRAY, np.diag([1, 1, 2, 1.0])).to_bytes())
        zero = np.zeros(1, np.float32 if at == 108 else np.int64).tobytes()
        data[at : at + len(zero)] = zero
        (folder / f"{kind.__name__}.nii").write_bytes(data)


def right(field):
    for name in ("Nifti1Image", "Nifti2Image"):
        assert np.array_equal(read(field.given / f"{name}.nii").array, ARRAY)
    said = field.condyle("segment", field.run, field.given, "--out", field.out)
    assert said.code == 0
    assert said.text.count("inside its header") == 2
