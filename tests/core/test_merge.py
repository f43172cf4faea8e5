"""Names of structures as people write them."""

import pytest

from condyle.core import LOWER_LIMB, LabelScheme
from condyle.core.merge import scheme_of_names, structure_of

SIDED = LabelScheme.of({"femur_left": 1, "femur_right": 2, "hip_left": 3, "sacrum": 4, "L5": 5})


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("tibia", "tibia"), ("R_tibia.nrrd", "tibia"), ("femur_left.nii.gz", "femur"),
        ("FemurL.seg.nrrd", "femur"), ("left-femur", "femur"), ("hip", "pelvis"),
        ("hip_right.nii.gz", "pelvis"), ("Pelvis mask", "pelvis"), ("TIBIA_R", "tibia"),
        ("masks/case1/Fibula_Lt.nii", "fibula"), ("LFemur", "femur"), ("femur bone", "femur"),
        ("femur_cartilage", None), ("tibia_femur", None), ("aorta", None), ("left", None),
        ("left_right_femur", None), ("", None), ("patella", None),
    ],
)  # fmt: skip
def test_names_of_an_unsided_scheme(name, structure):
    assert structure_of(name, LOWER_LIMB) == structure


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("femur_left", "femur_left"), ("L_Femur", "femur_left"), ("FemurRight", "femur_right"),
        ("femur", None), ("hip_right", None), ("sacrum", "sacrum"), ("vertebrae_L5", None),
        ("L5", "L5"), ("l5.nii.gz", "L5"),
    ],
)  # fmt: skip
def test_names_of_a_sided_scheme(name, structure):
    assert structure_of(name, SIDED) == structure


def test_every_name_means_itself():
    names = [
        "rib_left_1",
        "rib_left_11",
        "vertebrae_L5",
        "hip_left",
        "gluteus_maximus_right",
        "Foot L",
    ]
    scheme = scheme_of_names(names)
    assert [structure_of(f"{name}.nii.gz", scheme) for name in names] == names
    assert scheme.ids == (1, 2, 3, 4, 5, 6)
    assert list(scheme.names) == sorted(names)
