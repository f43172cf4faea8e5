"""PATIENT/STUDY/SERIES as an archive exports it: scouts, a dose page, RTSTRUCT, a dead link, notes.

Each oddity is named once, and the scans are the right ones. Kind: C, G, I.
"""

import numpy as np
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from condyle.core import LabelMap, LabelScheme
from condyle.io import find_scans, open_dataset, read, write
from slices import dicom_image, saved

SIZES = {"P01": 10, "P02": 12}


def series(size, count=6, **elements):
    uid = generate_uid()
    return [
        dicom_image(np.full((size, size), 1024 - 50 * number), SeriesInstanceUID=uid,
                    InstanceNumber=number + 1, PixelSpacing=[1, 1],
                    ImagePositionPatient=[0, 0, 3 * number], **elements)
        for number in range(count)
    ]  # fmt: skip


def without_place(data, **elements):
    del data.ImagePositionPatient
    del data.ImageOrientationPatient
    for name, value in elements.items():
        setattr(data, name, value)
    return data


def structures():
    data = without_place(series(4, 1)[0], Modality="RTSTRUCT")
    for name in ("Rows", "Columns", "PixelData"):
        del data[name]
    kind = "1.2.840.10008.5.1.4.1.1.481.3"
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    return data


def make(folder):
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
             "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}  # fmt: skip
    for patient, size in SIZES.items():
        study = folder / patient / "20260101"
        saved(study / "CT_thin", series(size))
        saved(study / "scout", series(30, 1, **scout))
        picture = without_place(
            series(20, 1)[0], SOPClassUID=SecondaryCaptureImageStorage, SeriesDescription="Dose"
        )
        saved(study / "dose", [picture])
        saved(study / "RT", [structures()])
        (study / "CT_thin" / "note.txt").write_text("ask Ann")
        (study / "CT_thin" / "README").write_text("exported by the archive")
        (study / "report.pdf").write_bytes(b"%PDF")
        (study / "lost").symlink_to(folder / "nowhere")
        structures().save_as(study / "CT_thin" / "plan", enforce_file_format=True)


def right(field):
    said = field.condyle("segment", field.run, field.given, "--out", field.out)
    assert said.code == 0
    shapes = {path.name: read(path).grid.shape for path in field.out.glob("*.nii.gz")}
    assert shapes == {f"{p}_CT_thin.nii.gz": (size, size, 6) for p, size in SIZES.items()}
    assert len(find_scans(field.given)) == 2
    listing = next(line for line in said.text.split("condyle: ") if "passed over 10" in line)
    for oddity in ("scout/0.dcm: a scout", "dose/0.dcm: an image without", "RT/0.dcm: RTSTRUCT",
                   "report.pdf: no format", "lost: a link to nothing"):  # fmt: skip
        assert f"P01/20260101/{oddity}" in listing
        assert said.text.count(f"P01/20260101/{oddity}") == 1
    for oddity in ("note.txt: not DICOM", "README: not DICOM", "plan: RTSTRUCT"):
        assert said.text.count(oddity) == 2  # one of each patient
    masks, data = field.out / "masks", field.out / "data"
    for name, size in (("P01_CT_thin", 10), ("P02_CT_thin", 12)):
        array = np.zeros((size, size, 6), np.uint8)
        array[2:6, 2:6, 1:5] = 1
        grid = read(field.given / name[:3] / "20260101" / "CT_thin").grid
        write(LabelMap(array, grid, LabelScheme.of({"tibia": 1})), masks / f"{name}.seg.nrrd")
    said = field.condyle("import", field.given, "--masks", masks, "--out", data)
    assert said.code == 0
    found = {case.id: round(case.labels().volume_cm3("tibia"), 6) for case in open_dataset(data)}
    assert found == {"P01_CT_thin": 0.192, "P02_CT_thin": 0.192}
