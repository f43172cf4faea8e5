"""Case names that end in four digits, and one scan that nobody has labelled yet.

Kin to MIC-DKFZ/nnUNet#448, #231, #820. Kind: G.
"""

import nibabel
import numpy as np

from condyle.io import open_dataset


def make(folder):
    noise = np.random.default_rng(0)
    for number in range(1, 6):
        labels = np.zeros((16, 16, 10), np.uint8)
        labels[2 + number : 8 + number, 4:12, 2:8] = 1
        scan = (noise.normal(0, 20, labels.shape) + 800.0 * labels - 500).astype(np.int16)
        for name, array in (("images", scan), ("labels", labels)):
            (folder / name).mkdir(exist_ok=True)
            if name == "images" or number != 3:
                image = nibabel.Nifti1Image(array, np.diag([1, 1, 2, 1.0]))
                image.to_filename(folder / name / f"knee_{number:04d}.nii.gz")


def right(field):
    cases = {case.id: case.label is not None for case in open_dataset(field.given)}
    assert cases == {f"knee_{number:04d}": number != 3 for number in range(1, 6)}
    said = field.condyle("check", field.given)
    assert said.code == 0
    assert "knee_0003" in said.text
    assert "channel" not in said.text
