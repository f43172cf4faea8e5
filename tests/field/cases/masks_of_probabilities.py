"""Masks as a network or a spline leaves them: 1 inside, and a halo of small fractions around.

Kin to wasserth/TotalSegmentator#71. Kind: D. 'Any number but 0' was four times the volume.
"""

import nibabel
import numpy as np

from condyle.io import open_dataset

AFFINE = np.diag([1, 1, 2, 1.0])
SHAPE = (20, 22, 14)


def truth():
    array = np.zeros(SHAPE, bool)
    array[5:12, 6:15, 3:11] = True
    return array


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, AFFINE).to_filename(path)


def make(folder):
    rng = np.random.default_rng(3)
    inside = truth()
    halo = np.zeros(SHAPE, bool)
    halo[2:16, 3:19, 1:13] = True
    soft = np.where(inside, 1.0, np.where(halo, rng.uniform(1e-7, 1e-2, SHAPE), 0))
    odd = {
        "fractions": np.where(inside, 0.9, np.where(halo, 0.2, 0)),
        "spline": np.where(inside, 1.02, np.where(halo, -0.05, 0)),
        "grey": soft * 255,
        "scaled": soft / 255,
        "scan": np.where(inside, 700, -1000),
        "nan": np.where(halo, soft, np.nan),
        "two": inside + (halo & inside & (np.arange(14) > 7)).astype(float),
        "full": np.ones(SHAPE),
    }
    for name, array in {"soft": soft, **odd}.items():
        scan = rng.normal(0, 20, SHAPE) + 800 * inside - 500
        save(scan.astype(np.int16), folder / name / "scans" / "leg.nii.gz")
        save(array.astype(np.float32), folder / name / "masks" / "leg" / "femur.nii.gz")


def right(field):
    around = 14 * 16 * 12 - 7 * 9 * 8
    for name in ("soft", "fractions"):
        given, out = field.given / name, field.out / name
        said = field.condyle("import", given / "scans", "--masks", given / "masks", "--out", out)
        assert said.code == 0, said.text
        words = f"the 504 voxels above 0.5 were taken, {around} above 0 were not"
        assert words in said.text
        assert "warning" in said.text
        found = open_dataset(out)["leg"].labels()
        assert {n: int(found.mask(n).sum()) for n in found.scheme.names} == {"femur": 504}
    refused = {
        "spline": "from -0.05 to 1.02",
        "grey": "to 255",
        "scaled": "none above 0.5",
        "scan": "negative numbers, down to -1000",
        "nan": "NaN",
        "two": "several numbers (1, 2)",
        "full": "fills the whole scan",
    }
    for name, words in refused.items():
        given, out = field.given / name, field.out / name
        said = field.condyle("import", given / "scans", "--masks", given / "masks", "--out", out)
        assert (said.code, words in said.text) == (2, True), (name, said.text)
        assert "femur" in said.text
        assert not out.exists()
