"""Masks are understood as laboratories call them: by index and code, or by a template."""

import numpy as np
import pytest

from condyle.config.requests import ImportRequest
from condyle.core import Grid, Volume
from condyle.errors import ConfigError, DatasetError
from condyle.io import open_dataset, write
from condyle.workflows.importing.import_scans import import_scans

GRID = Grid.regular((6, 5, 4), (1, 2, 2))
NAMES = ("4_AutoBindWATER_300_5A", "6_AutoBindWATER_650_9B")
FLAT = {"4_R_tibia_5A": 1, "4_R_femur_5A": 2, "6_R_tibia_9B": 3, "6_L_tibia_9B": 4, "6_femur": 5}


def scan(path):
    array = np.random.default_rng(0).integers(-900, 900, GRID.shape).astype(np.int16)
    return write(Volume(array, GRID), path)


def mask(path, plane):
    array = np.zeros(GRID.shape, np.uint8)
    array[plane] = 255
    return write(Volume(array, GRID), path)


def laid_out(folder, masks, scans=NAMES):
    for name in scans:
        scan(folder / "scans" / f"{name}.nii.gz")
    for name, plane in masks.items():
        mask(folder / "masks" / f"{name}.nii.gz", plane)


def imported(folder, **more):
    given = {"scans": [folder / "scans"], "masks": [folder / "masks"], "scheme": "lower-limb"}
    said = import_scans(ImportRequest(**(given | more), out=folder / "out")).text
    cases = open_dataset(folder / "out")
    found = {
        case.id: {
            name: sorted(set(np.nonzero(case.labels().mask(name))[0].tolist()))
            for name in cases.scheme.names
            if case.labels().mask(name).any()
        }
        for case in cases
    }
    return found, said


def test_flat_folder_of_all_patients_is_matched_by_index_and_code(tmp_path):
    laid_out(tmp_path, FLAT)
    found, _ = imported(tmp_path)
    assert found == {
        NAMES[0]: {"tibia": [1], "femur": [2]},
        NAMES[1]: {"tibia": [3, 4], "femur": [5]},
    }


@pytest.mark.parametrize(
    "name", ["6_R_tibia_9B", "6_tibia", "tibia_1", "4_R_tibia_5A", "CASE_tibia"]
)
def test_single_scan_takes_masks_with_index_or_code(tmp_path, name):
    laid_out(tmp_path, {name: 1, name.replace("tibia", "femur"): 2}, scans=("CASE",))
    assert imported(tmp_path)[0] == {"CASE": {"tibia": [1], "femur": [2]}}


def test_code_that_contradicts_its_scan_is_of_no_scan(tmp_path):
    laid_out(tmp_path, FLAT | {"6_fibula_5A": 0})
    found, said = imported(tmp_path)
    assert "fibula" not in found[NAMES[1]]
    assert "6_fibula_5A" in said


def test_mask_that_fits_two_scans_is_refused_with_both(tmp_path):
    laid_out(tmp_path, {"6_tibia": 1}, scans=("6_left_1A", "6_right_1B"))
    with pytest.raises(DatasetError, match=r"6_tibia\.nii\.gz may be of 6_left_1A or 6_right_1B"):
        imported(tmp_path)


def test_name_with_two_structures_is_refused_with_both(tmp_path):
    laid_out(tmp_path, {"6_tibia_femur": 1, "6_fibula": 2}, scans=("6_x_9B",))
    with pytest.raises(DatasetError, match="tibia and femur"):
        imported(tmp_path)


def test_template_says_how_masks_are_called(tmp_path):
    masks = {"tibia.R.4-5A": 1, "femur.R.4-5A": 2, "tibia.L.6-9B": 3, "notes": 0}
    laid_out(tmp_path, masks)
    template = "{structure}.{side}.{index}-{code}"
    found, said = imported(tmp_path, mask_names=template)
    assert found == {NAMES[0]: {"tibia": [1], "femur": [2]}, NAMES[1]: {"tibia": [3]}}
    assert "masks without a scan were ignored: notes" in said


def test_template_names_sides_where_there_is_no_scheme(tmp_path):
    laid_out(tmp_path, {"4_R_tibia_5A": 1, "6_l_tibia_9B": 2})
    found, _ = imported(tmp_path, scheme="", mask_names="{index}_{side}_{structure}_{code}")
    assert found == {NAMES[0]: {"tibia_right": [1]}, NAMES[1]: {"tibia_left": [2]}}


@pytest.mark.parametrize(
    ("template", "error", "said"),
    [
        ("{index}_{bone}", ConfigError, r"\{bone\}; there are \{case\}, \{index\}"),
        ("{index}_{code}", ConfigError, r"needs the part \{structure\}"),
        ("mask-{structure}", ConfigError, "no mask is called .* there are 4_R_femur_5A"),
        ("{structure}", DatasetError, "may be of 4_AutoBindWATER_300_5A or 6_AutoBindWATER"),
    ],
)
def test_wrong_template_is_explained(tmp_path, template, error, said):
    laid_out(tmp_path, FLAT)
    with pytest.raises(error, match=said):
        imported(tmp_path, mask_names=template)


def test_muscles_are_a_scheme_with_sides_understood(tmp_path):
    laid_out(
        tmp_path,
        {"4_R_vastus_lateralis_5A": 1, "4_VastusLateralis_L_5A": 2, "6_Gracilis_9B": 3},
    )
    found, _ = imported(tmp_path, scheme="thigh-muscles")
    assert found == {NAMES[0]: {"vastus_lateralis": [1, 2]}, NAMES[1]: {"gracilis": [3]}}
