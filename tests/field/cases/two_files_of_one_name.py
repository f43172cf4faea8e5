"""Two label maps of one case, an old leg1.nii.gz and a corrected leg1.nrrd: which one is it?

Kin to Slicer/Slicer#5378, InsightSoftwareConsortium/ITK#2243. Kind: C. Also .nii beside .nii.gz.
"""

import nibabel
import numpy as np

from condyle.core import Grid, LabelMap, LabelScheme
from condyle.io import write

SCHEME = LabelScheme.of({"tibia": 1})


def make(folder):
    old, new = np.zeros((2, 16, 16, 10), np.uint8)
    old[4:8, 4:8, 3:6] = 1
    new[4:12, 4:12, 2:8] = 1
    affine = np.diag([1, 1, 2, 1.0])
    scan = nibabel.Nifti1Image((800 * new.astype(np.int16) - 500), affine)
    for name in ("images", "labels", "truth", "twice"):
        (folder / name).mkdir()
    for case in ("leg1", "leg2"):
        scan.to_filename(folder / "images" / f"{case}.nii.gz")
        nibabel.Nifti1Image(old, affine).to_filename(folder / "labels" / f"{case}.nii.gz")
        for name in ("labels", "truth"):
            labels = LabelMap(new, Grid((16, 16, 10), affine), SCHEME)
            write(labels, folder / name / f"{case}.nrrd")
    scan.to_filename(folder / "twice" / "leg1.nii")
    scan.to_filename(folder / "twice" / "leg1.nii.gz")


def right(field):
    labels, out = field.given / "labels", field.out
    commands = {
        "import with masks": ("import", field.given / "images", "--masks", labels, "--out", out),
        "import": ("import", field.given, "--out", out),
        "check": ("check", field.given),
        "evaluate": ("evaluate", labels, field.given / "truth", "--out", out),
        "evaluate against": ("evaluate", field.given / "truth", labels, "--out", out),
        "mesh": ("mesh", labels, "--out", out),
        "refine": ("refine", labels, "--min-mm3", "2", "--out", out),
        "segment": ("segment", field.run, field.given / "twice", "--out", out),
    }
    for name, command in commands.items():
        said = field.condyle(*command)
        assert said.code == 2, name
        assert "more than one" in said.text, name
        assert "leg1" in said.text, name
        assert not list(out.glob("*.*")), name
