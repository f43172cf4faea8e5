"""A DICOM-SEG that leaves out the slices in which nothing is, as most writers do.

Kin to QIICR/dcmqi#462, AIM-Harvard/pyradiomics#687. Kind: E. In the second, nothing but the scan
of the same command says how far the slices lie apart.
"""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

SIDES = (20, 16, 11)
STEP = 2.5
HELD = {"knee": (3, 4, 5, 6), "gaps": (2, 5, 7), "one": (4,)}


def truth(name):
    """(i, j, k) as DICOM counts: columns, rows, slices."""
    array = np.zeros(SIDES, np.uint8)
    for k in HELD[name]:
        array[4:13, 3 : 8 + k, k] = 1
    return array


def header(series, kind, modality, uid):
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = kind
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = uid
    found.Modality, found.SeriesInstanceUID, found.StudyInstanceUID = modality, series, "1.2.3.1"
    found.PatientID, found.FrameOfReferenceUID = "someone", "1.2.3.9"
    found.Columns, found.Rows, found.SamplesPerPixel = SIDES[0], SIDES[1], 1
    found.PhotometricInterpretation = "MONOCHROME2"
    return found


def place(k):
    return [-30.0, 12.0, 40.0 + STEP * k]


def write_scan(folder, name, number):
    folder.mkdir(parents=True)
    for k in range(SIDES[2]):
        image = header(f"1.2.3.{number}", "1.2.840.10008.5.1.4.1.1.2", "CT", f"1.2.3.{number}.{k}")
        image.InstanceNumber, image.ImagePositionPatient = k + 1, place(k)
        image.ImageOrientationPatient, image.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.9, 0.9]
        image.SliceThickness, image.RescaleSlope, image.RescaleIntercept = STEP, 1, -1000
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 0
        voxels = 1000.0 * truth(name)[..., k].T + np.arange(SIDES[0]) + k
        image.PixelData = voxels.astype("<u2").tobytes()
        image.save_as(folder / f"{k:02}.dcm", enforce_file_format=True)


def write_seg(file, name, number, says_step):
    held = HELD[name]
    seg = header(f"1.2.4.{number}", "1.2.840.10008.5.1.4.1.1.66.4", "SEG", f"1.2.4.{number}.1")
    seg.SegmentationType, seg.NumberOfFrames = "BINARY", len(held)
    seg.BitsAllocated = seg.BitsStored = 1
    seg.HighBit = seg.PixelRepresentation = 0
    segment, measures, orientation, shared = (Dataset() for _ in range(4))
    segment.SegmentNumber, segment.SegmentLabel = 1, "femur"
    seg.SegmentSequence = [segment]
    measures.PixelSpacing = [0.9, 0.9]
    if says_step:
        measures.SpacingBetweenSlices = STEP
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    seg.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in held:
        frame, where, which = Dataset(), Dataset(), Dataset()
        where.ImagePositionPatient, which.ReferencedSegmentNumber = place(k), 1
        frame.PlanePositionSequence, frame.SegmentIdentificationSequence = [where], [which]
        frames.append(frame)
    seg.PerFrameFunctionalGroupsSequence = frames
    bits = np.concatenate([truth(name)[..., k].T.ravel() for k in held])
    seg.PixelData = np.packbits(bits, bitorder="little").tobytes()
    seg.save_as(file, enforce_file_format=True)


def make(folder):
    (folder / "seg").mkdir()
    for number, name in enumerate(HELD, 1):
        write_scan(folder / "ct" / name, name, number)
        write_seg(folder / "seg" / f"{name}.dcm", name, number, says_step=name == "knee")


def right(field):
    from condyle.io import read_labels

    said = field.condyle(
        "import", field.given / "ct", "--masks", field.given / "seg", "--out", field.out
    )
    assert said.code == 0, said.text
    for name in HELD:
        found = read_labels(field.out / "labelsTr" / f"{name}.nii.gz").reoriented("LPS")
        assert np.array_equal(found.array, truth(name)), name
