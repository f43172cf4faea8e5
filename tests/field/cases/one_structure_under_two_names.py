"""R_Femur in one case, femur_R_final in the others: classes that no case has in common.

From a newcomer's diary; kin to wasserth/TotalSegmentator#281. Kind: G.
"""

import nibabel
import numpy as np

from condyle.io import open_dataset

SHAPE = (14, 12, 10)


def bone():
    array = np.zeros(SHAPE, np.uint8)
    array[4:9, 3:9, 2:8] = 1
    return array


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)


def make(folder):
    rng = np.random.default_rng(5)
    names = ("R_Femur", "femur_R_final", "femur_R_final")
    for number, name in enumerate(names):
        scan = rng.normal(0, 20, SHAPE) + 600.0 * bone() - 400
        save(scan.astype(np.int16), folder / "scans" / f"leg{number}.nii.gz")
        save(bone(), folder / "masks" / f"leg{number}" / f"{name}.nii.gz")
        save(bone(), folder / "others" / f"leg{number}" / f"{'abc'[number] * 5}.nii.gz")


def right(field):
    asked = ["import", field.given / "scans", "--masks"]
    field.condyle(*asked, field.given / "masks", "--out", field.out / "two")
    said = field.condyle("check", field.out / "two")
    words = "".join(character for character in said.text if character not in "│┃").split()
    assert "R_Femur and femur_R_final never occur in one case" in " ".join(words)
    out = field.out / "one"
    rename = ("--rename", "R_Femur=femur", "--rename", "femur_R_final=femur")
    said = field.condyle(*asked, field.given / "masks", *rename, "--out", out)
    assert "R_Femur, femur_R_final -> femur" in said.text
    for case in open_dataset(out):
        assert np.array_equal(case.labels().mask("femur"), bone() > 0)
    assert "no problems found" in field.condyle("check", out).text
    again = field.out / "again"
    said = field.condyle(
        *asked, field.given / "masks", "--rename", out / "names.csv", "--out", again
    )
    assert open_dataset(again).scheme.names == ("femur",), said.text
    field.condyle(*asked, field.given / "others", "--out", field.out / "apart")
    assert (
        "no structure occurs in more than one" in field.condyle("check", field.out / "apart").text
    )
