"""PET with a slope a slice; a radiograph without a place; echoes that no element tells apart.

Kin to ivmartel/dwv#493, rordenlab/dcm2niix#359. Kind: C, J.
"""

import numpy as np

from condyle.io import read
from slices import dicom_image, saved


def slices(count=8, stored=1000, **elements):
    return [
        dicom_image(np.full((10, 12), stored), SeriesInstanceUID="1.2.3", PixelSpacing=[1, 1],
                    ImagePositionPatient=[0, 0, 3 * number], **elements)
        for number in range(count)
    ]  # fmt: skip


def make(folder):
    pet = slices(Modality="PT", PixelRepresentation=0, RescaleIntercept=0)
    for number, data in enumerate(pet):
        data.RescaleSlope = 2.5 if number % 2 else 5.0
        data.PixelData = np.full((10, 12), 2000 if number % 2 else 1000, "<u2").tobytes()
    saved(folder / "pet", pet)
    radiograph = slices(1, Modality="CR")
    del radiograph[0].ImagePositionPatient
    del radiograph[0].ImageOrientationPatient
    saved(folder / "radiograph", radiograph)
    first, second = (slices(Modality="MR", EchoTime="10", stored=stored) for stored in (900, 500))
    saved(folder / "echoes", [*first, *second])


def right(field):
    assert (read(field.given / "pet").array == 5000).all()
    for kind, reason in (("radiograph", "does not say where it lies"), ("echoes", "more than one")):
        said = field.condyle("segment", field.run, field.given / kind, "--out", field.out)
        assert said.code == 2
        assert reason in said.text
