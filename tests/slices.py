"""DICOM images of phantoms, for the tests that read series."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def dicom_image(stored, **elements):
    """A CT image of these stored numbers, (row, column), with these elements besides or instead."""
    elements = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": generate_uid(), "Modality": "CT",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "Rows": stored.shape[0], "Columns": stored.shape[1], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "PixelRepresentation": 1,
        "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
        "RescaleSlope": 1, "RescaleIntercept": -1024,
    } | elements  # fmt: skip
    data = Dataset()
    data.PixelData = stored.astype("<i2" if elements["PixelRepresentation"] else "<u2").tobytes()
    data["PixelData"].VR = "OW"
    for name, value in elements.items():
        setattr(data, name, value)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data


def saved(folder, images):
    """The images as files in a folder, under names in no order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(0).permutation(len(images))
    for name, data in zip(names, images, strict=True):
        data.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return folder
