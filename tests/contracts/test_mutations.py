"""No damaged header fools or crashes a reader: it reads to a sane scan, or one sentence refuses it.

Each format's files are changed by the hundred, from seeds, and read in a child process that may
take 1 GiB and 10 seconds a file. A child that dies names the seed that killed it. To see one again:
`python tests/contracts/test_mutations.py FORMAT SEED 1`.
"""

import gzip
import io
import json
import logging
import re
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from condyle.core import KNEE, Grid, LabelMap
from condyle.errors import CondyleError
from condyle.io import read, read_labels, write
from condyle.io.safety import sane

SECONDS = 10
ROOM = 1 << 30
"""Bytes of address space that reading may take beyond what the interpreter and libraries have."""
KEPT = 64 << 20
"""Bytes of memory that reading files of a few kilobytes may touch."""

SHAPE = (9, 8, 7)
BYTES = b'\0\1\x7f\x80\xff 0123456789-+.e:=\n\r()#"%/\\'
"""What breaks parsers; half of all changes draw from these."""


def a_label_map():
    array = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.int16)
    affine = np.diag([0.7, -0.8, 3.0, 1])
    affine[:3, 3] = -20, 33, 410
    return LabelMap(array, Grid(SHAPE, affine), KNEE)


def nifti(folder, ending, kind=nib.Nifti1Image):
    labels = a_label_map()
    image = kind(labels.array, labels.grid.affine)
    image.set_qform(labels.grid.affine, 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / f"scan{ending}")
    return folder / f"scan{ending}"


def analyze(folder):
    labels = a_label_map()
    nib.save(nib.AnalyzeImage(labels.array, labels.grid.affine), folder / "scan.hdr")
    return folder / "scan.hdr"


def mgh(folder):
    labels = a_label_map()
    image = nib.MGHImage(labels.array, labels.grid.affine)
    (folder / "scan.mgh").write_bytes(image.to_bytes())
    return folder / "scan.mgh"


def nhdr(folder):
    """A detached header, and its voxels beside it."""
    path = write(a_label_map(), folder / "scan.nrrd")
    head = path.read_bytes().split(b"\n\n")[0].replace(b"encoding: gzip", b"encoding: raw")
    (folder / "scan.raw").write_bytes(a_label_map().array.tobytes(order="F"))
    (folder / "scan.nhdr").write_bytes(head + b"\ndata file: scan.raw\n\n")
    path.unlink()
    return folder / "scan.nhdr"


def a_slice(n):
    """Slice n of a CT, as the bytes of its file."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = CTImageStorage
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = f"1.2.3.{n + 1}"
    d.SeriesInstanceUID, d.StudyInstanceUID, d.FrameOfReferenceUID = "1.2.3", "1.2", "1.1"
    d.Modality, d.SeriesNumber, d.InstanceNumber = "CT", 4, n + 1
    d.SeriesDescription, d.ImageType = "Bone", ["ORIGINAL", "PRIMARY", "AXIAL"]
    d.ImagePositionPatient = [-20, 35, 100 + 3 * n]
    d.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    d.PixelSpacing, d.SliceThickness = [0.8, 0.7], 3
    d.Rows, d.Columns, d.SamplesPerPixel = 8, 9, 1
    d.PhotometricInterpretation = "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    d.RescaleSlope, d.RescaleIntercept = 1, -1024
    d.PixelData = np.random.default_rng(n).integers(0, 2000, (8, 9)).astype("<u2").tobytes()
    d["PixelData"].VR = "OW"
    written = io.BytesIO()
    d.save_as(written, enforce_file_format=True)
    return written.getvalue()


def dicom(folder, count):
    """The path to read: a file, or a folder of a series."""
    for n in range(count):
        (folder / f"{n}.dcm").write_bytes(a_slice(n))
    return folder / "0.dcm" if count == 1 else folder


def zipped(folder):
    with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(4):
            archive.writestr(f"ct/{n}.dcm", a_slice(n))
    return folder / "scan.zip"


FORMATS = {
    "nii": lambda folder: nifti(folder, ".nii"),
    "nii.gz": lambda folder: nifti(folder, ".nii.gz"),
    "nifti2": lambda folder: nifti(folder, ".nii", nib.Nifti2Image),
    "hdr": lambda folder: nifti(folder, ".hdr", nib.Nifti1Pair),
    "analyze": analyze,
    "mgh": mgh,
    "nrrd": lambda folder: write(a_label_map(), folder / "scan.nrrd"),
    "nhdr": nhdr,
    "seg.nrrd": lambda folder: write(a_label_map(), folder / "scan.seg.nrrd"),
    "mha": lambda folder: write(a_label_map(), folder / "scan.mha"),
    "mhd": lambda folder: write(a_label_map(), folder / "scan.mhd"),
    "dicom": lambda folder: dicom(folder, 1),
    "series": lambda folder: dicom(folder, 4),
    "zip": zipped,
}
"""Format -> what makes a good file in a folder; gives back the path to read."""

TEXT = ("nrrd", "nhdr", "seg.nrrd", "mha", "mhd")
NUMBERS = (
    b"-1", b"0", b"4", b"83", b"32000", b"2147483648", b"99999999999999999999", b"1e-320", b"1e308",
    b"nan", b"inf", b"", b"(1,0,0)", b"none", b"7 " * 3000,
)  # fmt: skip
"""What takes the place of numbers in headers that are text."""


def headers(kind, good):
    """The ranges of bytes that describe the voxels, in what `opened` gives of a good file."""
    if kind in ("nrrd", "seg.nrrd"):
        return [(0, good.index(b"\n\n") + 2)]
    if kind == "mha":
        return [(0, good.index(b"LOCAL") + 6)]
    if kind in ("dicom", "series"):
        return [(128, good.index(b"\xe0\x7f\x10\x00") + 12)]
    if kind == "zip":
        return [(good.index(b"PK\1\2"), len(good)), (0, 60)]
    return [(0, {"nifti2": 544, "nii": 352, "nii.gz": 352, "mgh": 284}.get(kind, len(good)))]


def opened(kind, data):
    return gzip.decompress(data) if kind == "nii.gz" else data


def mutated(kind, good, rng):
    """A file's bytes with 1 to 5 of its header's changed, or some put in, taken out, or cut off."""
    ranges = headers(kind, opened(kind, good))
    packed = kind == "nii.gz" and rng.random() < 0.8
    data = bytearray(opened(kind, good) if packed else good)
    low, high = ranges[rng.integers(len(ranges))]
    high = min(high, len(data))
    way = rng.choice(["change", "insert", "remove", "cut", "edit"], p=[0.5, 0.1, 0.1, 0.05, 0.25])
    at = int(rng.integers(low, high))
    few = int(rng.integers(1, 6))
    if way == "edit" and kind in TEXT:
        return edited(bytes(data[low:high]), rng) + bytes(data[high:])
    if way in ("change", "edit"):
        for _ in range(few):
            data[rng.integers(low, high)] = _byte(rng)
    elif way == "insert":
        data[at:at] = bytes(_byte(rng) for _ in range(few))
    elif way == "remove":
        del data[at : at + few]
    else:
        del data[at:]
    return gzip.compress(bytes(data), mtime=0) if packed else bytes(data)


def edited(header, rng):
    """A text header with one number, or the order or count of its lines, changed."""
    if rng.random() < 0.7:
        numbers = list(re.finditer(rb"-?[\d.]+(e[-+]\d+)?", header))
        start, stop = numbers[rng.integers(len(numbers))].span()
        return header[:start] + NUMBERS[rng.integers(len(NUMBERS))] + header[stop:]
    lines = header.split(b"\n")
    one, other = rng.integers(len(lines) - 2, size=2)
    if rng.random() < 0.5:
        lines[one], lines[other] = lines[other], lines[one]
    elif rng.random() < 0.5:
        lines.insert(one, lines[other])
    else:
        del lines[one]
    return b"\n".join(lines)


def _byte(rng):
    return int(rng.integers(256)) if rng.random() < 0.5 else BYTES[rng.integers(len(BYTES))]


def faults(kind, path):
    """What is wrong with how a file is taken: '' if it reads to a sane scan, or is refused."""
    readers = (read,) if kind in ("dicom", "series", "zip") else (read, read_labels)
    for reader in readers:
        try:
            found = reader(path)
            assert sane(found.grid, path) is found.grid
            assert found.array.shape == found.grid.shape
        except CondyleError as error:
            bogus_promise = isinstance(error.__cause__, MemoryError)
            if bogus_promise or "\n" in str(error) or str(path) not in str(error):
                return traceback.format_exc()
        except BaseException:
            return traceback.format_exc()
    return ""


def work(kind, first, count):
    """Read `count` mutated files, a line of JSON before and after each; runs in a child process."""
    logging.getLogger("condyle").setLevel(logging.ERROR)
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        path = FORMATS[kind](Path(folder))
        target = path / "1.dcm" if path.is_dir() else path
        good = target.read_bytes()
        read(path)  # a good file is read, and the libraries are there before memory is counted
        before = memory("VmSize"), memory("VmHWM")
        resource.setrlimit(resource.RLIMIT_AS, (before[0] + ROOM,) * 2)
        for seed in range(first, first + count):
            say({"seed": seed})
            target.write_bytes(mutated(kind, good, np.random.default_rng((seed, len(kind)))))
            signal.alarm(SECONDS)  # ends the process, wherever it hangs
            fault = faults(kind, path)
            signal.alarm(0)
            grown = memory("VmHWM") - before[1]
            if grown > KEPT and not fault:
                fault, before = f"took {grown >> 20} MiB", (before[0], before[1] + grown)
            say({"seed": seed, "fault": fault})


def memory(field):
    """Bytes of this process's memory, by a field of Linux's table; 0 on other systems."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(field)), 0)


def say(row):
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def found_in(kind, count):
    """Seed -> fault, of files 0 to `count` of a format; a child that died is started anew."""
    first, found, last = 0, {}, ""
    while first < count:
        done = subprocess.run(
            [sys.executable, __file__, kind, str(first), str(count - first)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        found |= {row["seed"]: row["fault"] for row in rows if row.get("fault")}
        if done.returncode == 0:
            return found
        assert rows, done.stderr
        last = done.stderr[-2000:]
        found[rows[-1]["seed"]] = f"ended the process ({done.returncode}): {last}"
        first = rows[-1]["seed"] + 1
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("count", [150, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_headers_read_to_a_sane_scan_or_are_refused(kind, count):
    found = found_in(kind, count)
    assert not found, f"{len(found)} of {count}: " + "\n".join(
        f"seed {seed}: {fault}" for seed, fault in list(found.items())[:5]
    )


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
