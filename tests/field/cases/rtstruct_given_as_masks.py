"""Contours of a planning system (RTSTRUCT) given as masks: imported on their scan, or refused.

Kin to pyplati/platipy#143, #165, #244; Sikerdebaard/dcmrtstruct2nii#32. Kind: I.
"""

import numpy as np
import pydicom
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from condyle.io import open_dataset
from slices import dicom_image, saved

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def of(**elements):
    data = pydicom.Dataset()
    for name, value in elements.items():
        setattr(data, name, value)
    return data


def contours(low, high, slices):
    """A square of pixels in some slices, 3 mm apart, in mm."""
    low, high = low - 0.5, high - 0.5
    square = [(low, low), (high, low), (high, high), (low, high)]
    return [
        of(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4,
           ContourData=[x for a, b in square for x in (a, b, 3 * k)])
        for k in slices
    ]  # fmt: skip


def plan(path, drawn=True):
    """GTV_Mass, 3 x 3 pixels in 2 slices, and Rectum, 4 x 4 in 1, with a hole of 2 x 2."""
    regions = {"GTV_Mass": contours(1, 4, (2, 3)),
               "Rectum": contours(4, 8, (5,)) + contours(5, 7, (5,))}  # fmt: skip
    data = of(SOPClassUID=RTSTRUCT, SOPInstanceUID=generate_uid(), Modality="RTSTRUCT")
    data.StructureSetROISequence = [
        of(ROINumber=n, ROIName=name) for n, name in enumerate(regions, 1)
    ]
    if drawn:
        data.ROIContourSequence = [
            of(ReferencedROINumber=n, ContourSequence=lines)
            for n, lines in enumerate(regions.values(), 1)
        ]
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = RTSTRUCT
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def make(folder):
    for case in ("one", "two"):
        uid, random = generate_uid(), np.random.default_rng(0)
        saved(folder / "scans" / case, [
            dicom_image(random.integers(0, 900, (9, 10)), SeriesInstanceUID=uid,
                        InstanceNumber=k + 1, PixelSpacing=[1, 1],
                        ImagePositionPatient=[0, 0, 3 * k])
            for k in range(8)
        ])  # fmt: skip
        for path in (folder / "masks" / case / "RS.dcm", folder / "flat" / f"{case}.dcm"):
            plan(path)
        plan(folder / "empty" / case / "RS.dcm", drawn=False)


def right(field):
    one = field.given / "scans" / "one"
    for n, (scans, masks) in enumerate([
        (field.given / "scans", field.given / "masks"),
        (field.given / "scans", field.given / "flat"),
        (one, field.given / "masks" / "one"),
        (one, field.given / "masks" / "one" / "RS.dcm"),
    ]):  # fmt: skip
        out = field.out / str(n)
        said = field.condyle("import", scans, "--masks", masks, "--out", out)
        assert said.code == 0, said.text
        for case in open_dataset(out):
            labels = case.labels()
            array = np.zeros((10, 9, 8), np.uint8)
            array[1:4, 1:4, 2:4] = labels.scheme.to_dict()["GTV_Mass"]
            array[4:8, 4:8, 5] = labels.scheme.to_dict()["Rectum"]
            array[5:7, 5:7, 5] = 0
            assert np.array_equal(labels.array, array)
    said = field.condyle("import", one, "--masks", field.given / "empty" / "one", "--out",
                         field.out / "no")  # fmt: skip
    assert said.code == 2
    assert "an RTSTRUCT without contours" in said.text
    assert not (field.out / "no").exists()
