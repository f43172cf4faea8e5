"""An archive's PATIENT/CT and PATIENT/STUDY/CT: every scan's own folder has the same name.

Kin to StanfordMIMI/Comp2Comp#23. Kind: G.
"""

import numpy as np

from condyle.io import read
from slices import dicom_image, saved


def make(folder):
    for patient, size in (("P01", 10), ("P02", 12)):
        for place in (folder / "flat" / patient / "CT", folder / "deep" / patient / "day1" / "CT"):
            saved(place, [
                dicom_image(np.full((size, size), 1000), SeriesInstanceUID="1.2.3",
                            PixelSpacing=[1, 1], ImagePositionPatient=[0, 0, 3 * number])
                for number in range(6)
            ])  # fmt: skip
    saved(folder / "more" / "P01" / "day1" / "CT", [])
    for patient, day, size in (("P01", "day1", 8), ("P01", "day2", 9), ("P02", "day1", 10)):
        saved(folder / "more" / patient / day / "CT", [
            dicom_image(np.full((size, size), 1000), SeriesInstanceUID="1.2.3",
                        PixelSpacing=[1, 1], ImagePositionPatient=[0, 0, 3 * number])
            for number in range(6)
        ])  # fmt: skip


def right(field):
    for kind in ("flat", "deep"):
        out = field.out / kind
        assert field.condyle("segment", field.run, field.given / kind, "--out", out).code == 0
        sizes = {path.name: read(path).grid.shape[0] for path in out.glob("*.nii.gz")}
        assert sizes == {"P01_CT.nii.gz": 10, "P02_CT.nii.gz": 12}
    out = field.out / "more"
    assert field.condyle("segment", field.run, field.given / "more", "--out", out).code == 0
    sizes = {path.name: read(path).grid.shape[0] for path in out.glob("*.nii.gz")}
    assert sizes == {"P01_day1_CT.nii.gz": 8, "P01_day2_CT.nii.gz": 9, "P02_day1_CT.nii.gz": 10}
