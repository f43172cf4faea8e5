"""A structure that some cases lack: no mask, an empty one, or a label map without its number.

Kin to MIC-DKFZ/nnUNet#2517, #1104, #1683. Kind: F. What nobody drew is no background.
"""

import json

import nibabel
import numpy as np

from condyle.io import open_dataset

SHAPE = (18, 16, 12)


def bones():
    femur, tibia = np.zeros((2, *SHAPE), np.uint8)
    femur[2:7, 4:12, 3:9] = 1
    tibia[10:15, 4:12, 3:9] = 1
    return femur, tibia


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)


def make(folder):
    rng = np.random.default_rng(2)
    femur, tibia = bones()
    for number in range(1, 8):
        scan = (rng.normal(0, 20, SHAPE) + 600.0 * (femur + tibia) - 400).astype(np.int16)
        save(scan, folder / "scans" / f"leg{number}.nii.gz")
        save(scan, folder / "set" / "images" / f"leg{number}.nii.gz")
        labels = femur + 2 * (number != 5) * tibia
        save(labels, folder / "set" / "labels" / f"leg{number}.nii.gz")
        save(femur, folder / "masks" / f"leg{number}" / "femur.nii.gz")
        if number != 2:
            save(tibia * (number != 4), folder / "masks" / f"leg{number}" / "tibia.nii.gz")
    (folder / "set" / "labels.json").write_text(json.dumps({"femur": 1, "tibia": 2}))


def right(field):
    out = field.out / "plain"
    asked = ["import", field.given / "scans", "--masks", field.given / "masks"]
    said = field.condyle(*asked, "--out", out)
    assert said.code == 0, said.text
    assert "leg2 has no mask of tibia, which 5 of the 6 others have" in said.text
    assert "the mask of tibia is empty in leg4" in said.text
    assert "--not-drawn" in said.text
    said = field.condyle("check", out)
    for case in ("leg2", "leg4"):
        assert case in said.text
    assert "holds no tibia" in said.text

    said = field.condyle(*asked, "--out", field.out / "ignored", "--not-drawn", "ignore")
    dataset = open_dataset(field.out / "ignored")
    femur, tibia = bones()
    ignore = dataset.scheme.ignore
    assert np.array_equal(dataset["leg2"].labels().array, np.where(femur, 1, ignore))
    assert np.array_equal(dataset["leg1"].labels().array, femur + 2 * tibia)
    assert np.array_equal(dataset["leg4"].labels().array, femur)

    said = field.condyle("check", field.given / "set")
    assert "leg5" in said.text
    assert "holds no tibia, which 6 of the 6 other cases have" in said.text
    said = field.condyle("import", field.given / "set", "--out", field.out / "again")
    assert "leg5 has no tibia, which 6 of the 6 others have" in said.text
