"""Masks called CASE_STRUCTURE, in a folder a case or in one folder; sides; names of laboratories.

Kin to MIC-DKFZ/nnUNet#2402, didymo/OnkoDICOM#184. Kind: G. Each name was a structure of its own.
"""

import nibabel
import numpy as np

from condyle.io import open_dataset

SHAPE = (18, 16, 12)
CASES = ("leg1", "leg2", "leg10")
NAMES = {
    "folders": "{case}/{case}_{name}",
    "flat": "{case}_{name}",
    "behind": "{name}_{case}",
    "plain": "{case}/{name}",
}


def bone(name):
    array = np.zeros(SHAPE, np.uint8)
    at = {"femur_left": 2, "femur_right": 8, "tibia": 14}[name]
    array[at : at + 3, 4:12, 3:9] = 1
    return array


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)


def make(folder):
    rng = np.random.default_rng(4)
    names = ("femur_left", "femur_right", "tibia")
    for case in CASES:
        scan = rng.normal(0, 20, SHAPE) + 600.0 * sum(bone(name) for name in names) - 400
        save(scan.astype(np.int16), folder / "scans" / f"{case}_CT.nii.gz")
        for kind, pattern in NAMES.items():
            for name in names:
                save(bone(name), folder / kind / f"{pattern.format(case=case, name=name)}.nii.gz")


def right(field):
    for kind in NAMES:
        out = field.out / kind
        asked = ["import", field.given / "scans", "--masks", field.given / kind, "--out"]
        said = field.condyle(*asked, out)
        assert said.code == 0, said.text
        assert open_dataset(out).scheme.names == ("femur_left", "femur_right", "tibia"), kind
        said = field.condyle("check", out)
        assert "one case" not in said.text
        joined = field.out / f"{kind}-joined"
        said = field.condyle(*asked, joined, "--scheme", "lower-limb")
        assert "femur_left, femur_right -> femur" in said.text
        assert "3 scans with tibia, femur (no case holds fibula, pelvis) written" in said.text
        dataset = open_dataset(joined)
        both = bone("femur_left") | bone("femur_right")
        for case in dataset:
            assert np.array_equal(case.labels().mask("femur"), both > 0), (kind, case.id)
            assert np.array_equal(case.labels().mask("tibia"), bone("tibia") > 0), (kind, case.id)
