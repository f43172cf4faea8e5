"""Scans named as nnU-Net wants them (CASE_0000), label maps plainly CASE, to be imported.

Kin to MIC-DKFZ/nnUNet#820, #231, #729. Kind: G.
"""

import nibabel
import numpy as np

from condyle.io import open_dataset

AFFINE = np.diag([1, 1, 2, 1.0])
CASES = ("knee1", "knee2", "hip_0007")


def block(number):
    array = np.zeros((16, 18, 12), np.uint8)
    array[4:9, 5:14, 3 : 7 + number] = 1
    return array


def make(folder):
    rng = np.random.default_rng(1)
    for number, case in enumerate(CASES):
        scan = (rng.normal(0, 20, block(0).shape) + 700.0 * block(number) - 400).astype(np.int16)
        for place, name, array in (
            ("scans", f"{case}_0000", scan),
            ("labels", case, block(number)),
            ("masks", f"{case}/femur", block(number)),
            ("numbered", f"{case}_0000", block(number)),
        ):
            path = folder / place / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.Nifti1Image(array, AFFINE).to_filename(path)


def right(field):
    for masks in ("labels", "masks", "numbered"):
        out = field.out / masks
        said = field.condyle(
            "import", field.given / "scans", "--masks", field.given / masks, "--out", out
        )
        assert said.code == 0, said.text
        dataset = open_dataset(out)
        assert [case.id for case in dataset] == sorted(CASES)
        for number, case in enumerate(CASES):
            (scan,), labels = dataset[case].pair()
            assert np.array_equal(labels.array, block(number))
            assert scan.array[labels.array > 0].mean() > 200
