"""A data set with a dataset.json and one channel; knee_0000 is a case's name, and has no labels.

Kin to MIC-DKFZ/nnUNet#231. Kind: G.
"""

import json

import nibabel
import numpy as np

from condyle.io import open_dataset


def make(folder):
    labels = np.zeros((8, 8, 6), np.uint8)
    labels[2:5, 2:5, 2:5] = 1
    for number in range(3):
        for name, array in (("imagesTr", labels.astype(np.int16) * 500), ("labelsTr", labels)):
            (folder / name).mkdir(exist_ok=True)
            if name == "imagesTr" or number:
                image = nibabel.Nifti1Image(array, np.eye(4))
                image.to_filename(folder / name / f"knee_{number:04d}.nii.gz")
    facts = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "tibia": 1},
             "numTraining": 3, "file_ending": ".nii.gz"}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(facts), encoding="utf-8-sig")


def right(field):
    cases = {case.id: case.label is not None for case in open_dataset(field.given)}
    assert cases == {"knee_0000": False, "knee_0001": True, "knee_0002": True}
    said = field.condyle("check", field.given)
    assert "announces 3 labelled cases (numTraining), 2 are here" in said.text
