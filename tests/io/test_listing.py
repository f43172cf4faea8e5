"""What lies in a folder is found, or named with the reason why not; never two of one name."""

import itertools
import logging
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import SecondaryCaptureImageStorage

from condyle.core import LabelMap, LabelScheme
from condyle.errors import DatasetError
from condyle.io import find_scans, list_scans, read, scans_by_name
from condyle.io.dicom import seg_writer
from condyle.io.labelmaps import label_files
from condyle.io.listing import name_scans
from condyle.io.paths import ENDINGS
from condyle.io.scans import sources
from slices import dicom_image, saved

ARRAY = np.zeros((6, 5, 4), np.int16)


def nifti(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(ARRAY, np.eye(4)), path)
    return path


def a_slice(number, uid="1.2.3", **elements):
    place = {"PixelSpacing": [1, 1], "ImagePositionPatient": [0, 0, 3 * number]}
    elements = {"SeriesInstanceUID": uid, "StudyInstanceUID": "1.2", **place, **elements}
    return dicom_image(np.full((6, 5), 1000), **elements)


def series(folder, count=5):
    return saved(folder, [a_slice(number) for number in range(count)])


def segmentation(folder, scan):
    """A DICOM-SEG of a scan in a folder."""
    images = sources(scan)
    grid = read(scan).grid
    array = np.zeros(grid.shape, np.uint8)
    array[1:4, 1:4, 1:4] = 1
    folder.mkdir(parents=True, exist_ok=True)
    return seg_writer.save(
        folder / "seg.dcm", LabelMap(array, grid, LabelScheme.of({"tibia": 1})), images
    )


def dicom(path, data):
    data.save_as(path, enforce_file_format=True)


def report(modality):
    data = a_slice(0, uid="1.9", Modality=modality, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67")
    for name in ("Rows", "Columns", "PixelData"):
        del data[name]
    return data


def capture():
    data = a_slice(0, uid="1.8", SOPClassUID=SecondaryCaptureImageStorage)
    del data.ImagePositionPatient
    return data


SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "uid": "1.7"}
ODD = {
    "gone.nii.gz": lambda path: path.symlink_to(path.parent / "nowhere"),
    "gone": lambda path: path.symlink_to(path.parent / "nowhere"),
    "leg.tif": lambda path: path.write_bytes(b"II*\0"),
    "notes.txt": lambda path: path.write_text("ask Ann"),
    "README": lambda path: path.write_text("ask Ann"),
    "leg.nii.gz.part": lambda path: path.write_bytes(b"\x1f\x8b"),
    "leg.mat": lambda path: path.write_bytes(b"MATLAB"),
    "dose.dcm": lambda path: dicom(path, capture()),
    "report": lambda path: dicom(path, report("SR")),
    "plan.dcm": lambda path: dicom(path, report("RTPLAN")),
    "scout.dcm": lambda path: dicom(path, a_slice(0, **SCOUT)),
}
"""Name -> what makes a file that is no scan."""


@pytest.mark.parametrize("scans", ["files", "a folder each", "DICOM", "patients"])
def test_each_oddity_in_a_folder_of_scans_is_named_once_and_the_scans_are_found(
    tmp_path, caplog, scans
):
    root = tmp_path / "in"
    wanted = {
        "files": lambda: [nifti(root / f"leg{n}.nii.gz") for n in range(3)],
        "a folder each": lambda: [nifti(root / f"P{n}" / "scan.nii.gz") for n in range(3)],
        "DICOM": lambda: [series(root / f"P{n}") for n in range(3)],
        "patients": lambda: [series(root / f"P{n}" / "day" / "CT") for n in range(3)],
    }[scans]()
    for name, make in ODD.items():
        make(root / name)
    assert find_scans(root) == wanted
    with caplog.at_level(logging.WARNING, "condyle"):
        found = scans_by_name([root])
    assert list(found.values()) == wanted
    assert len(caplog.records) == 1
    assert f"passed over {len(ODD)} " in caplog.text
    said = caplog.text.split("passed over")[1].replace("(", "; ").split("; ")
    assert all(sum(part.startswith(f"{name}: ") for part in said) == 1 for name in ODD)


@pytest.mark.parametrize("name", ODD)
def test_each_oddity_within_a_dicom_folder_is_named_when_it_is_read(tmp_path, caplog, name):
    scan = series(tmp_path / "CT")
    ODD[name](scan / name)
    assert find_scans(scan) == [scan]
    with caplog.at_level(logging.WARNING, "condyle"):
        assert read(scan).grid.shape == (5, 6, 5)
    said = "scout" if name == "scout.dcm" else name
    assert sum(said in record.message for record in caplog.records) == 1


def test_a_stray_file_does_not_decide_what_a_folder_is(tmp_path):
    files = tmp_path / "files"
    wanted = [nifti(files / f"leg{n}.nii.gz") for n in range(3)]
    dicom(files / "stray.dcm", a_slice(0))
    found = list_scans(files)
    assert list(found.scans) == wanted
    assert list(found.passed_over) == [files / "stray.dcm"]
    folder = series(tmp_path / "series")
    nifti(folder / "leg.nii.gz")
    assert find_scans(folder) == [folder]


def test_files_below_a_folder_of_files_are_named_and_not_taken(tmp_path):
    nifti(tmp_path / "leg.nii.gz")
    nifti(tmp_path / "old" / "leg.nii.gz")
    scan = series(tmp_path / "CT")
    found = list_scans(tmp_path)
    assert list(found.scans) == [scan, tmp_path / "leg.nii.gz"]
    assert list(found.passed_over) == [tmp_path / "old"]


def test_results_and_links_in_a_circle_are_no_scans(tmp_path):
    wanted = nifti(tmp_path / "P1" / "scan.nii.gz")
    nifti(tmp_path / "labels" / "scan.nii.gz")
    (tmp_path / "labels" / "manifest.jsonl").write_text("")
    (tmp_path / "P1" / "up").symlink_to(tmp_path)
    found = list_scans(tmp_path)
    assert list(found.scans) == [wanted]
    assert set(found.passed_over) == {tmp_path / "labels", tmp_path / "P1" / "up"}


def test_segmentations_are_label_maps_and_no_scans(tmp_path):
    scan = series(tmp_path / "P1" / "CT")
    labels = segmentation(tmp_path / "P1" / "SEG", scan)
    assert find_scans(tmp_path) == [scan]
    assert label_files([tmp_path]) == {"seg": labels}
    assert find_scans(labels.parent) == [labels]
    shutil.copy(labels, scan / "seg.dcm")
    assert find_scans(scan) == [scan]
    assert label_files([scan]) == {"CT": scan}


FILES = [e for e, kind in ENDINGS.items() if kind not in ("dicom", "zip", "picture")]


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(FILES, 2)))
def test_two_files_of_one_name_in_a_folder_are_refused(tmp_path, one, other):
    for ending in (one, other):
        (tmp_path / f"leg{ending}").write_bytes(b"")
    if {one, other} == {".hdr", ".img"}:
        assert label_files([tmp_path]) == {"leg": tmp_path / "leg.hdr"}
        return
    for reader in (lambda path: label_files([path]), lambda path: scans_by_name([path])):
        with pytest.raises(DatasetError, match=r"more than one (file|scan) is called leg: leg\."):
            reader(tmp_path)


PARTS = st.sampled_from(["P1", "P2", "day", "CT", "Jürgen"])
PATHS = st.lists(st.lists(PARTS, min_size=1, max_size=4), min_size=1, max_size=6)


@given(PATHS)
def test_scans_are_named_by_as_few_folders_as_tell_them_apart(parts):
    paths = {"/".join(part) for part in parts}
    paths = [f"in/{path}/scan.nii.gz" for path in sorted(paths)]
    found = name_scans([Path(path) for path in paths])
    assert [str(path) for path in found.values()] == paths
    again = name_scans([Path(path) for path in reversed(paths)])
    assert again == found
    if len(paths) == 1:
        assert list(found) == ["scan"]
    for name, path in found.items():
        assert name.endswith("scan")
        assert set(name.split("_")) <= {*path.parts, "scan"}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["P1/CT", "P2/CT"], ["P1_CT", "P2_CT"]),
        (["P1/day/CT", "P2/day/CT"], ["P1_CT", "P2_CT"]),
        (["P1/a/CT", "P1/b/CT", "P2/a/CT"], ["P1_a_CT", "P1_b_CT", "P2_a_CT"]),
        (["P1/CT", "P1/MR", "P2/CT"], ["P1_CT", "P1_MR", "P2_CT"]),
        (["P1/CT", "P2/MR"], ["CT", "MR"]),
        (["CT", "P2/CT"], ["CT", "P2_CT"]),
        (["sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz"],
         ["sub-01_T1w", "sub-02_T1w"]),
    ],
)  # fmt: skip
def test_names_are_short_and_stable(paths, names):
    assert list(name_scans([Path(f"in/{path}") for path in paths])) == names
