"""Contours of a planning system (RTSTRUCT) given as masks: refused by name, with the way out.

Kin to pyplati/platipy#143, #165, #244; Sikerdebaard/dcmrtstruct2nii#32. Kind: I.
"""

import nibabel
import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def make(folder):
    for case in ("one", "two"):
        scan = np.random.default_rng(0).integers(-900, 900, (8, 9, 10)).astype(np.int16)
        (folder / "scans").mkdir(exist_ok=True)
        nibabel.Nifti1Image(scan, np.eye(4)).to_filename(folder / "scans" / f"{case}.nii.gz")
        data = pydicom.Dataset()
        data.SOPClassUID, data.SOPInstanceUID, data.Modality = RTSTRUCT, generate_uid(), "RTSTRUCT"
        data.StructureSetROISequence = []
        for number, name in enumerate(("GTV_Mass", "Rectum"), 1):
            item = pydicom.Dataset()
            item.ROINumber, item.ROIName = number, name
            data.StructureSetROISequence.append(item)
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.MediaStorageSOPClassUID = RTSTRUCT
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for path in (folder / "masks" / case / "RS.dcm", folder / "flat" / f"{case}.dcm"):
            path.parent.mkdir(parents=True, exist_ok=True)
            data.save_as(path, enforce_file_format=True)


def right(field):
    one = field.given / "scans" / "one.nii.gz"
    for scans, masks in [
        (field.given / "scans", field.given / "masks"),
        (field.given / "scans", field.given / "flat"),
        (one, field.given / "masks" / "one"),
        (one, field.given / "masks" / "one" / "RS.dcm"),
    ]:
        said = field.condyle("import", scans, "--masks", masks, "--out", field.out)
        assert said.code == 2
        assert "is an RTSTRUCT (ROIs: GTV_Mass, Rectum)" in said.text, said.text
        assert "3D Slicer" in said.text
        assert ".seg.nrrd" in said.text
        assert not field.out.exists()
