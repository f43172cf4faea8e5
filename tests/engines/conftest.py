"""A toy data set, and the Python that has the engines, if any."""

import json

import nibabel as nib
import numpy as np
import pytest

from condyle.engines.process import python, versions

SHAPE = (28, 26, 24)


@pytest.fixture(scope="session")
def nnunet():
    """Skips where nnU-Net is not installed."""
    if "nnunetv2" not in versions(python()):
        pytest.skip("nnunetv2 is not installed (CONDYLE_ENGINES_PYTHON may name a Python with it)")


@pytest.fixture(scope="session")
def total_segmentator(nnunet):
    """Skips where TotalSegmentator is not installed."""
    if "totalsegmentator" not in versions(python()):
        pytest.skip("TotalSegmentator is not installed (CONDYLE_ENGINES_PYTHON may name a Python)")


def toy_case(seed):
    """A scan and its labels: a bright ball (3) and a dark box (7), in noise, at random places."""
    random = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    middle = random.uniform(9, 12, 3)
    places = np.stack(np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]], axis=-1)
    labels[np.linalg.norm(places - middle, axis=-1) < random.uniform(5, 6)] = 3
    i, j, k = random.integers(15, 18, 3)
    labels[i : i + 8, j : j + 7, k - 6 : k + 4] = 7
    scan = 100 + 80.0 * (labels == 3) - 80.0 * (labels == 7) + random.normal(0, 12, SHAPE)
    return scan.astype(np.float32), labels


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Nine cases whose labels are numbered 3 and 7, some of them stored in other axes."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    names = [f"toy_{n}" for n in range(9)]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for seed, name in enumerate(names):
        affine = np.diag([1.0, 1.0, 1.25, 1.0])
        scan, labels = toy_case(seed)
        if seed % 2:  # the same body, stored from left to right and from front to back
            affine[0, 0] = affine[1, 1] = -1
            scan, labels = scan[::-1, ::-1], labels[::-1, ::-1]
        for array, file in ((scan, f"imagesTr/{name}_0000"), (labels, f"labelsTr/{name}")):
            nib.save(nib.Nifti1Image(array, affine), folder / f"{file}.nii.gz")
    facts = {
        "channel_names": {"0": "MRI"}, "labels": {"background": 0, "ball": 3, "box": 7},
        "numTraining": 9, "file_ending": ".nii.gz",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(facts))
    split = {"train": names[:5], "val": names[5:7], "test": names[7:]}
    (folder / "splits_final.json").write_text(json.dumps([split]))
    return folder
