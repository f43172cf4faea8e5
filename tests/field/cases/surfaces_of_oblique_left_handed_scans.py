"""A box of known place in an oblique, left-handed grid of thick slices; and one at the border.

Kin to mikedh/trimesh#142, #663, seung-lab/igneous#118. Kind: E (it was right, and stays so).
"""

import csv

import nibabel
import numpy as np
import trimesh

BOXES = {"inside": ((18, 9, 4), (38, 30, 11)), "border": ((0, 0, 0), (19, 22, 6))}


def affine():
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    found = np.eye(4)
    found[:3, :3] = turn @ tilt @ np.diag([-0.7, 0.7, 2.5])
    found[:3, 3] = (-25, 40, 90)
    return found


def make(folder):
    for name, (low, high) in BOXES.items():
        array = np.zeros((55, 48, 18), np.uint8)
        array[tuple(map(slice, low, high))] = 1
        nibabel.Nifti1Image(array, affine()).to_filename(folder / f"{name}.nii.gz")


def right(field):
    said = field.condyle(
        "mesh", field.given, "--out", field.out, "--format", "stl", "--space", "lps"
    )
    assert said.code == 0, said.text
    with (field.out / "surfaces.csv").open() as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    for name, (low, high) in BOXES.items():
        centre = affine()[:3, :3] @ ((np.add(low, high) - 1) / 2) + affine()[:3, 3]
        volume = np.prod(np.subtract(high, low)) * 0.7 * 0.7 * 2.5 / 1000
        found = [float(rows[name][f"centre_{axis}_mm"]) for axis in "ras"]
        assert np.allclose(found, centre, atol=0.02), name
        assert abs(float(rows[name]["volume_cm3"]) / volume - 1) < 0.01
        surface = trimesh.load(field.only(field.out, f"{name}*label*.stl"))
        assert surface.is_watertight
        assert surface.volume > 0
        assert np.allclose(surface.center_mass, centre * (-1, -1, 1), atol=0.05)
