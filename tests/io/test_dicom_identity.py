"""What headers lose, by name and never by value; and whose scan it is, without saying who."""

import zipfile

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import MRImageStorage, generate_uid

from condyle.core import Grid, Volume
from condyle.errors import MissingFile
from condyle.io import dropped, patient_of, write
from slices import dicom_image


def scan(folder, patient):
    d = dicom_image(
        np.zeros((2, 2)), SOPClassUID=MRImageStorage, Modality="MR",
        SeriesInstanceUID=generate_uid(), ImagePositionPatient=[0, 0, 0],
        PixelSpacing=[1, 1], SliceThickness=2,
        PatientName="Canary^Bird", PatientID=patient, PatientBirthDate="19700102",
    )  # fmt: skip
    block = d.private_block(0x0099, "CANARY", create=True)
    block.add_new(1, "LO", "Canary")
    folder.mkdir()
    d.save_as(folder / "a.dcm", enforce_file_format=True)
    return folder


def test_dropped_elements_are_named_without_their_values(tmp_path):
    folder = scan(tmp_path / "s", "CANARY-7")
    names = dropped(folder)
    assert {"PatientName", "PatientID", "PatientBirthDate", "SeriesInstanceUID"} <= set(names)
    assert "PixelSpacing" not in names
    assert "private (0099,1001)" in names
    assert not [name for name in names if "canary" in name.lower() or "1970" in name]
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
        packed.write(folder / "a.dcm", "a.dcm")
    assert dropped(tmp_path / "s.zip") == names


def test_two_scans_of_a_patient_are_known_as_such_and_no_id_shows(tmp_path):
    first, second, third = (
        patient_of(scan(tmp_path / name, who))
        for name, who in (("a", "CANARY-7"), ("b", "CANARY-7 "), ("c", "8"))
    )
    assert first == second != third
    assert "CANARY" not in first
    assert len(first) == len(third)
    assert patient_of(scan(tmp_path / "d", "")) == ""


def test_nifti_loses_its_free_text(tmp_path):
    path = write(Volume(np.zeros((2, 2, 2), np.int16), Grid.regular((2, 2, 2))), tmp_path / "a.nii")
    assert dropped(path) == ()
    assert patient_of(path) == ""
    image = nib.load(path)
    image.header["descrip"] = b"Canary"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Canary"))
    nib.save(image, tmp_path / "b.nii")
    assert dropped(tmp_path / "b.nii") == ("descrip", "extension 6")
    with pytest.raises(MissingFile):
        dropped(tmp_path / "c.nii")
