"""A zip whose names part folders by backslashes, as old programs of Windows write them.

Of our own. Kind: I.
"""

import io
import zipfile

import numpy as np

from condyle.io import read
from slices import dicom_image


def make(folder):
    with zipfile.ZipFile(folder / "leg.zip", "w") as archive:
        for number in range(6):
            place = {"PixelSpacing": [1, 1], "ImagePositionPatient": [0, 0, 3 * number]}
            data = dicom_image(np.full((10, 12), 1024 + number), SeriesInstanceUID="1.2", **place)
            stream = io.BytesIO()
            data.save_as(stream, enforce_file_format=True)
            info = zipfile.ZipInfo("x")
            info.filename = f"study\\CT\\IM{number}.dcm"
            archive.writestr(info, stream.getvalue())
        info = zipfile.ZipInfo("x")
        info.filename = "study\\empty\\"
        archive.writestr(info, b"")


def right(field):
    assert np.array_equal(read(field.given / "leg.zip").array[0, 0], np.arange(6))
