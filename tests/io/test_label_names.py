"""Names and colours travel with label maps, and are found again wherever they lie."""

import json
from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Extension

from condyle.core import KNEE, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, LabelError
from condyle.io import read_labels, write

GRID = Grid.regular((4, 3, 2), (1, 1, 2))
ARRAY = np.arange(24, dtype=np.uint8).reshape(GRID.shape) % 3
SCHEME = LabelScheme.of({"femur_left": 1, "Köpfchen <5>": 2, "sacrum & co": 7, "ignore": 9},
                        {"femur_left": (1, 2, 254), "sacrum & co": (255, 0, 128)})  # fmt: skip
NAMES = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=5, unique=True)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd"])
def test_names_and_colours_come_back(tmp_path, ending):
    path = write(LabelMap(ARRAY, GRID, SCHEME), tmp_path / f"labels{ending}")
    found = read_labels(path)
    assert np.array_equal(found.array, ARRAY)
    assert found.scheme.to_dict() == SCHEME.to_dict()
    assert found.scheme.labels == SCHEME.labels
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T.tolist() == ARRAY.tolist()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(NAMES)
def test_nifti_holds_any_name(tmp_path, names):
    scheme = LabelScheme.of({name: n for n, name in enumerate(names, 1)})
    path = write(LabelMap(ARRAY, GRID, scheme), tmp_path / "labels.nii")
    found = read_labels(path).scheme
    for known, name in zip(found.names, scheme.names, strict=False):
        assert known == name or "\ufffd" in known


def test_the_table_is_that_of_totalsegmentator(tmp_path):
    path = write(LabelMap(ARRAY, GRID, KNEE), tmp_path / "knee.nii.gz")
    assert (
        path.read_bytes() == write(LabelMap(ARRAY, GRID, KNEE), tmp_path / "a.nii.gz").read_bytes()
    )
    (extension,) = nibabel.load(path).header.extensions
    root = ElementTree.fromstring(extension.get_content())
    table = root.find("VolumeInformation/LabelTable")
    assert root.tag == "CaretExtension"
    assert {(row.attrib["Key"], row.text) for row in table} == {("1", "tibia"), ("2", "femur")}
    image = nibabel.Nifti1Image(ARRAY, GRID.affine)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension> <Date><![CDATA[x]]></Date>'
        '<VolumeInformation Index="0"><LabelTable><Label Key="2" Red="1" Green="0.5" Blue="0" '
        'Alpha="1"><![CDATA[urinary_bladder]]></Label></LabelTable></VolumeInformation>'
        "</CaretExtension>"
    )
    for code in (0, 30):
        image.header.extensions[:] = [Nifti1Extension(code, text.encode())]
        image.to_filename(tmp_path / "other.nii.gz")
        scheme = read_labels(tmp_path / "other.nii.gz").scheme
        assert scheme.to_dict() == {"label_1": 1, "urinary_bladder": 2}
        assert scheme["urinary_bladder"].colour == (255, 128, 0)


def test_a_damaged_table_is_said_and_ignored(tmp_path, caplog):
    image = nibabel.Nifti1Image(ARRAY, GRID.affine)
    image.header.extensions[:] = [Nifti1Extension(0, b"<LabelTable><Label Key=")]
    image.to_filename(tmp_path / "labels.nii.gz")
    assert read_labels(tmp_path / "labels.nii.gz").scheme.names == ("label_1", "label_2")
    assert "names of labels" in caplog.text


def test_names_in_a_file_decide_and_are_matched_to_a_schemes(tmp_path):
    own = LabelScheme.of({"femur": 1, "tibia": 2})
    path = write(LabelMap(ARRAY, GRID, own), tmp_path / "labels.nii.gz")
    assert np.array_equal(read_labels(path, KNEE).mask("femur"), ARRAY == 1)
    renamed = LabelScheme.of({"femur": 1, "shin": 2})
    assert np.array_equal(read_labels(path, renamed).mask("shin"), ARRAY == 2)
    with pytest.raises(LabelError, match=r"femur = 1, tibia = 2.*what is label 2"):
        read_labels(path, {"patella": 1, "femur": 2})


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("found/labels.json", {"femur": 1, "patella": 2}),
        ("found/dataset.json", {"labels": {"background": 0, "femur": 1, "patella": 2}}),
        ("labelsTr/../dataset.json", {"labels": {"1": "femur", "2": "patella"}}),
        ("segmenter/segmenter.json", {"labels": [{"name": "femur", "id": 1, "colour": [1, 2, 3]},
                                                 {"name": "patella", "id": 2}]}),
    ],
)  # fmt: skip
def test_names_are_found_beside_a_label_map(tmp_path, file, text):
    for folder in ("found", "labelsTr", "segmenter"):
        (tmp_path / folder).mkdir()
    folder = "labelsTr" if file.startswith("labelsTr") else "found"
    path = write(LabelMap.of(ARRAY, GRID), tmp_path / folder / "knee.nii.gz")
    (tmp_path / file).write_text(json.dumps(text))
    assert read_labels(path).scheme.to_dict() == {"femur": 1, "patella": 2}
    assert read_labels(path).volume_cm3("femur") > 0


def test_numbers_that_the_names_beside_lack_are_said(tmp_path, caplog):
    path = write(LabelMap.of(ARRAY, GRID), tmp_path / "knee.nii.gz")
    (tmp_path / "labels.json").write_text('{"femur": 1}')
    assert read_labels(path).scheme.to_dict() == {"femur": 1, "label_2": 2}
    assert "labels [2]" in caplog.text


@pytest.mark.parametrize("scheme", ["kneecap", {"femur": "one"}, 3])
def test_what_is_no_scheme_is_refused(tmp_path, scheme):
    path = write(Volume(ARRAY, GRID), tmp_path / "knee.nii.gz")
    assert read_labels(path, {"femur": 1, "tibia": 2}).scheme.names == ("femur", "tibia")
    with pytest.raises(ConfigError, match=r"what numbers stand for|unknown scheme"):
        read_labels(path, scheme)
