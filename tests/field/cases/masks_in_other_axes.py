"""Masks whose array axes run otherwise than the scan's: every voxel has its place in the body.

Kin to wasserth/TotalSegmentator#20, #31, AIM-Harvard/pyradiomics#482. Kind: E.
"""

import csv

import nibabel
import numpy as np

AFFINE = np.array([[-0.8, 0, 0, 11.5], [0, -0.8, 0, 10], [0, 0, 2, -16], [0, 0, 0, 1.0]])


def truth(number):
    array = np.zeros((23, 19, 15), np.uint8)
    array[5:12, 4 : 12 + number, 3:11] = 1
    return array


def make(folder):
    for part in ("scans", "masks", "truth", "set/imagesTr", "set/labelsTr"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number in (1, 2):
        labels = nibabel.Nifti1Image(truth(number), AFFINE)
        turned = nibabel.as_closest_canonical(labels)
        scan = rng.normal(-400, 25, truth(number).shape) + 700.0 * truth(number)
        scan = nibabel.Nifti1Image(scan.astype(np.int16), AFFINE)
        scan.to_filename(folder / "scans" / f"leg{number}.nii.gz")
        labels.to_filename(folder / "truth" / f"leg{number}.nii.gz")
        turned.to_filename(folder / "masks" / f"leg{number}.nii.gz")
        scan.to_filename(folder / "set" / "imagesTr" / f"leg{number}.nii.gz")
        turned.to_filename(folder / "set" / "labelsTr" / f"leg{number}.nii.gz")


def stored(file):
    image = nibabel.load(file)
    assert np.allclose(image.affine, AFFINE)
    return np.asarray(image.dataobj)


def right(field):
    given = field.given
    said = field.condyle("import", given / "scans", "--masks", given / "masks", "--out", field.out)
    assert said.code == 0, said.text
    assert "leg1, leg2: labels with other axes" in said.text
    judged = field.out.parent / "judged"
    said = field.condyle("evaluate", given / "masks", given / "truth", "--out", judged)
    assert said.code == 0, said.text
    with (judged / "metrics.csv").open() as stream:
        assert [row["dice"] for row in csv.DictReader(stream)] == ["1.0", "1.0"]
    fixed = field.out.parent / "fixed"
    said = field.condyle("check", given / "set", "--fix", fixed)
    assert "repaired" in said.text, said.text
    for number in (1, 2):
        for folder in (field.out, fixed):
            found = stored(folder / "labelsTr" / f"leg{number}.nii.gz")
            assert np.array_equal(found, truth(number)), (folder, number)
