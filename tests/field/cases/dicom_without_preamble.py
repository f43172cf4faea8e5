"""DICOM without preamble and mark, as older archives write it; and mixed with files that have it.

Kin to pydicom/pydicom#2231, GSTT-CSC/hazen#433. Kind: C, I.
"""

import numpy as np
from pydicom.uid import ImplicitVRLittleEndian

from condyle.io import read
from slices import dicom_image


def values():
    array = np.random.default_rng(0).integers(-900, 900, (10, 12, 14)).astype(np.int16)
    array[3:7, 4:8, 5:9] = 1200
    return array


def series():
    return [
        dicom_image(image + 1024, SeriesInstanceUID="1.2.3", StudyInstanceUID="1.2.4",
                    InstanceNumber=number + 1, ImagePositionPatient=[0, 0, 3 * number],
                    PixelSpacing=[1, 1], SliceThickness=3)
        for number, image in enumerate(values())
    ]  # fmt: skip


def bare(data, path):
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    del data.file_meta
    data.save_as(path, implicit_vr=True, little_endian=True)


def make(folder):
    for kind in ("named", "unnamed", "mixed", "explicit"):
        (folder / kind / "leg").mkdir(parents=True)
        for number, data in enumerate(series()):
            path = folder / kind / "leg" / f"IM{number:04d}"
            if kind == "mixed" and number < 8:
                data.save_as(path.with_suffix(".dcm"), enforce_file_format=True)
            elif kind == "explicit":
                del data.file_meta
                data.save_as(path, implicit_vr=False, little_endian=True)
            else:
                bare(data, path.with_suffix(".dcm") if kind == "named" else path)


def right(field):
    for kind in ("named", "unnamed", "mixed", "explicit"):
        scan = read(field.given / kind / "leg")
        assert np.array_equal(scan.array, values().transpose(2, 1, 0)), kind
    said = field.condyle("segment", field.run, field.given / "mixed" / "leg", "--out", field.out)
    assert said.code == 0
    assert read(field.out / "leg.nii.gz").grid.shape == (14, 12, 10)
