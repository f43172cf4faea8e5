"""PET, MR, scaled CT, and voxels in centimetres, given to a network of CT: it says its doubt.

Kin to reports of models for CT that were run on PET or MR and gave labels without a word, and to
the newcomer who segmented a pelvis CT with a network of MR. Kind: what a run does not know.
"""

from dataclasses import replace

import numpy as np

from condyle.core import Grid, Volume
from condyle.io import write
from condyle.predict import Segmenter, TrainingRecord

SHAPE = (20, 24, 16)


def body(air, soft, bone, noise):
    rng = np.random.default_rng(4)
    place = np.linalg.norm(np.stack(np.indices(SHAPE), -1) - (10, 12, 8), axis=-1)
    array = np.where(place < 3, bone, np.where(place < 8, soft, air))
    return (array + rng.normal(0, noise, SHAPE)).astype(np.float32)


def make(folder):
    hu = np.rint(body(-1000, 40, 700, 10))
    scans = {
        "ct": (hu, 1.0),
        "suv": (np.abs(body(0, 1, 8, 0.1)), 1.0),
        "mr": (np.abs(body(0, 500, 90, 10)), 1.0),
        "scaled": ((hu - hu.min()) / np.ptp(hu), 1.0),
        "centimetres": (hu, 0.1),
    }
    for name, (array, spacing) in scans.items():
        write(Volume(array, Grid.regular(SHAPE, (spacing,) * 3)), folder / f"{name}.nii.gz")


def right(field):
    known = TrainingRecord(
        modality="CT", hounsfield=True, lowest=(-1024, -990), highest=(600, 1500),
        spacing=((0.7, 0.7, 1.0), (1.0, 1.0, 3.0)),
    )  # fmt: skip
    segmenter = Segmenter.load(field.run)
    run = field.given / "run"
    replace(segmenter, training=known).save(run / "segmenter")
    said = {}
    for name in ("ct", "suv", "mr", "scaled", "centimetres"):
        scan = field.given / f"{name}.nii.gz"
        done = field.condyle("segment", run, scan, "--out", field.out / name)
        assert done.code == 0, done.text
        said[name] = done.text
        assert (field.out / name / f"{name}.nii.gz").is_file()
    assert "unlike" not in said["ct"]
    for name in ("suv", "mr", "scaled"):
        assert f"{name}: this scan is unlike those that unet-plain was trained on" in said[name]
        assert "Hounsfield" in said[name]
    assert (
        "its voxels are 0.1 mm long from feet to head, and theirs 1 to 3 mm"
        in (said["centimetres"])
    )
    planes = field.condyle(
        "segment", run, field.given / "ct.nii.gz", "--out", field.out / "all", "--planes", "all"
    )
    assert planes.code == 0
    assert "trained on axial slices alone" in planes.text
    assert "sagittal and coronal" in planes.text
