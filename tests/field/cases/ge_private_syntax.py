"""GE's private transfer syntax, headers little endian and pixels big endian: refused, not misread.

Kin to cornerstonejs/dicomParser#107. Kind: I.
"""

import numpy as np
from pydicom.uid import UID

from slices import dicom_image


def make(folder):
    (folder / "leg").mkdir()
    for number in range(4):
        stored = (np.arange(80).reshape(8, 10) + 1000).astype("<i2").byteswap()
        data = dicom_image(stored, SeriesInstanceUID="1.2.3", PixelSpacing=[1, 1],
                           ImagePositionPatient=[0, 0, 3 * number])  # fmt: skip
        data.file_meta.TransferSyntaxUID = UID("1.2.840.113619.5.2")
        data.save_as(folder / "leg" / f"{number}.dcm", implicit_vr=True, little_endian=True)


def right(field):
    said = field.condyle("segment", field.run, field.given / "leg", "--out", field.out)
    assert said.code == 2
    assert not list(field.out.glob("*.nii.gz"))
    assert "1.2.840.113619.5.2" in said.text
    assert "gdcmconv" in said.text
