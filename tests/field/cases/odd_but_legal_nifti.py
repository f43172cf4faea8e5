"""NIfTI that is legal and rare: wide integers, big-endian, extensions, NIfTI-2, a fourth axis of 1.

Kin to JuliaNeuroscience/NIfTI.jl#61, nilearn/nilearn#3167, freesurfer/freesurfer#1337. Kind: J.
"""

import nibabel
import numpy as np

from condyle.io import read

AFFINE = np.array([[-0.7, 0, 0, 10], [0, 0.8, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1.0]])


def labels():
    array = np.zeros((24, 22, 16), np.int16)
    array[6:14, 6:18, 4:12] = 1
    array[14:18, 6:18, 4:12] = 2
    return array


def make(folder):
    array = labels()
    for kind in ("int64", "uint64", "uint32", "float64", "int8"):
        image = nibabel.Nifti1Image(array.astype(kind), AFFINE, dtype=kind)
        image.to_filename(folder / f"{kind}.nii.gz")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.Nifti1Image(array.astype(">i2"), AFFINE, header).to_filename(folder / "big.nii.gz")
    image = nibabel.Nifti1Image(array, AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 1000))
    image.to_filename(folder / "extension.nii.gz")
    nibabel.Nifti2Image(array, AFFINE).to_filename(folder / "two.nii.gz")
    nibabel.Nifti1Image(array[..., None], AFFINE).to_filename(folder / "fourth.nii.gz")
    image = nibabel.Nifti1Image(array, AFFINE)
    image.header["scl_slope"] = np.nan
    image.to_filename(folder / "slope.nii.gz")


def right(field):
    for file in sorted(field.given.iterdir()):
        scan = read(file)
        assert np.allclose(scan.grid.affine, AFFINE, atol=1e-6), file
        assert np.array_equal(scan.array, labels()), file
        assert field.counts(file) == {"label_1": 8 * 12 * 8, "label_2": 4 * 12 * 8}, file
