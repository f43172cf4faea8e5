"""Folders with a CT, and beside it what has no place in the body: a dose page, a screenshot.

Kin to icometrix/dicom2nifti#60. Kind: C, I. One slice without a position is another matter: a
slice would be missing.
"""

import numpy as np
import pytest
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from condyle.errors import UnreadableFile
from condyle.io import read
from slices import dicom_image, saved


def series(uid):
    return [
        dicom_image(np.full((10, 12), 1024 + 10 * number), SeriesInstanceUID=uid,
                    StudyInstanceUID="1.2.4", InstanceNumber=number + 1, PixelSpacing=[1, 1],
                    ImagePositionPatient=[0, 0, 3 * number])
        for number in range(6)
    ]  # fmt: skip


def picture(uid, **elements):
    data = dicom_image(
        np.zeros((20, 20)), SOPClassUID=SecondaryCaptureImageStorage, SeriesInstanceUID=uid,
        StudyInstanceUID="1.2.4", SeriesDescription="Dose Report", **elements,
    )  # fmt: skip
    del data.ImageOrientationPatient
    return data


def make(folder):
    for name in ("leg1", "leg2"):
        uid = generate_uid()
        saved(folder / "scans" / name, series(uid))
        pictures = {"DOSE": picture(generate_uid()), "SHOT": picture(uid),
                    "CINE": picture(generate_uid(), NumberOfFrames=4)}  # fmt: skip
        pictures["CINE"].PixelData = bytes(4 * 20 * 20 * 2)
        for file, data in pictures.items():
            data.save_as(folder / "scans" / name / f"{file}.dcm", enforce_file_format=True)
    lost = series("1.2.9")
    del lost[2].ImagePositionPatient
    saved(folder / "lost", lost)


def right(field):
    said = field.condyle("segment", field.run, field.given / "scans", "--out", field.out)
    assert said.code == 0
    for name in ("leg1", "leg2"):
        assert read(field.out / f"{name}.nii.gz").grid.shape == (12, 10, 6)
        assert np.array_equal(read(field.given / "scans" / name).array[0, 0], np.arange(0, 60, 10))
    for file in ("DOSE.dcm", "SHOT.dcm", "CINE.dcm"):
        assert said.text.count(file) == 2  # one of each folder
    with pytest.raises(UnreadableFile, match="ImagePositionPatient"):
        read(field.given / "lost")
