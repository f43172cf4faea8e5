"""A CT series of 300 DICOM slices into .nii.gz: Condyle beside SimpleITK, in one run.

Each reading is a fresh process, the two take turns, and the figures that count are ratios: time
against SimpleITK's, memory above the bare interpreter with its libraries against the volume.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from condyle.config.requests import ImportRequest

SHAPE = (512, 512, 300)
ROUNDS = 3
GOALS = {"time": 1.5, "memory": 3.0}


def a_body(shape, seed=0):
    """HU (i, j, k), int16: smooth blobs of bone and flesh in air, with the noise of a scanner."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=[n // 16 + 2 for n in shape]).astype(np.float32)
    coarse = ndimage.gaussian_filter(coarse, 1.5)
    i, j = np.mgrid[: shape[0], : shape[1]]
    inside = np.hypot(i / shape[0] - 0.5, j / shape[1] - 0.5) < 0.42
    body = np.empty(shape, np.int16)
    for k in range(shape[2]):
        plane = coarse[:, :, k // 16] + (coarse[:, :, k // 16 + 1] - coarse[:, :, k // 16]) * (
            k % 16 / 16
        )
        blobs = ndimage.zoom(plane, 16, order=1)[: shape[0], : shape[1]] / coarse.std()
        flesh = np.where(blobs > 1.4, 300 + 300 * blobs, 40 + 60 * blobs)
        noise = rng.normal(0, 12, shape[:2])
        body[:, :, k] = np.where(inside, flesh + noise, -1000 + 0.4 * noise)
    return body


def write_series(folder, body):
    """One uncompressed file a slice, as a scanner sends it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for n in range(body.shape[2]):
        d = Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = CTImageStorage
        d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = generate_uid()
        d.SeriesInstanceUID, d.StudyInstanceUID, d.FrameOfReferenceUID = series, study, frame
        d.Modality, d.SeriesNumber, d.InstanceNumber = "CT", 2, n + 1
        d.PatientName, d.PatientID, d.SeriesDescription = "Phantom", "1", "Bone 1.0"
        d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        d.ImagePositionPatient = [-180, -180, -400 + n]
        d.ImageOrientationPatient, d.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.7, 0.7]
        d.Rows, d.Columns, d.SamplesPerPixel, d.SliceThickness = 512, 512, 1, 1
        d.PhotometricInterpretation = "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
        d.RescaleSlope, d.RescaleIntercept = 1, -1024
        d.PixelData = (body[:, :, n].T + 1024).astype("<i2").tobytes()
        d["PixelData"].VR = "OW"
        d.save_as(folder / f"IM{n:05d}.dcm", enforce_file_format=True)


def by_simpleitk(series, out):
    import SimpleITK as sitk

    yield  # libraries are there
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series)))
    sitk.WriteImage(reader.Execute(), str(out))


def by_condyle(series, out):
    import nibabel  # noqa: F401
    import pydicom.pixels
    import scipy  # noqa: F401
    from isal import igzip  # noqa: F401

    import condyle

    assert pydicom.pixels
    yield
    condyle.write(condyle.read(series), out)


def by_import(series, out):
    import nibabel  # noqa: F401
    import pydicom.pixels
    import scipy  # noqa: F401
    from isal import igzip  # noqa: F401

    from condyle.workflows.importing.import_scans import import_scans

    assert pydicom.pixels
    yield
    import_scans(
        ImportRequest(
            scans=[series],
            masks=[series.parent / "mask.nii.gz"],
            out=out.with_suffix(""),
            scheme="",
        )
    )


WAYS = {"SimpleITK": by_simpleitk, "Condyle": by_condyle, "condyle import": by_import}


def timed(way, series, out):
    """Seconds and peak bytes above the baseline, of one way; runs in a child process."""
    steps = WAYS[way](Path(series), Path(out))
    next(steps)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    next(steps, None)
    seconds = time.perf_counter() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": seconds, "bytes": grown * 1024}))


def run(way, series, out):
    command = [sys.executable, __file__, way, str(series), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def prepare(folder):
    """The series, and a mask of its bone."""
    import condyle
    from condyle.core import KNEE, Grid, LabelMap

    body = a_body(SHAPE)
    (folder / "series").mkdir()
    write_series(folder / "series", body)
    affine = np.diag([-0.7, -0.7, 1, 1])
    affine[:3, 3] = 180, 180, -400
    mask = LabelMap((body > 300).astype(np.uint8), Grid(SHAPE, affine), KNEE)
    condyle.write(mask, folder / "mask.nii.gz")


def require_equal(one, other):
    """Both wrote the same numbers: the race was over the same course."""
    import condyle

    assert np.array_equal(condyle.read(one).array, condyle.read(other).array)


def main():
    rows = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # in a process of its own: a child's peak would begin at its parent's
        subprocess.run([sys.executable, __file__, "prepare", name], check=True)
        for n in range(ROUNDS):
            for way in WAYS if n == 0 else list(WAYS)[:2]:
                out = folder / f"{way.replace(' ', '_')}{n}.nii.gz"
                rows[way].append(run(way, folder / "series", out))
        written = {way: folder / f"{way}0.nii.gz" for way in list(WAYS)[:2]}
        sizes = {way: file.stat().st_size for way, file in written.items()}
        require_equal(*written.values())
    volume_bytes = 2 * int(np.prod(SHAPE))
    print(f"{SHAPE[2]} slices of 512x512, {volume_bytes >> 20} MiB; median of {ROUNDS}")
    median = {w: statistics.median(r["seconds"] for r in each) for w, each in rows.items()}
    memory = {w: max(r["bytes"] for r in each) / volume_bytes for w, each in rows.items()}
    for way in WAYS:
        ratio = median[way] / median["SimpleITK"]
        size = f"{sizes[way] / volume_bytes:.2f} x" if way in sizes else "-"
        print(
            f"{way:15} {median[way]:6.2f} s = {ratio:4.2f} x SimpleITK, "
            f"memory {memory[way]:.2f} x the volume, file {size} the volume"
        )
    time_ratio = median["Condyle"] / median["SimpleITK"]
    if time_ratio > GOALS["time"] or memory["Condyle"] >= GOALS["memory"]:
        sys.exit(f"missed the goals: {GOALS['time']} x the time, {GOALS['memory']} x the volume")


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(Path(sys.argv[2]))
    else:
        timed(*sys.argv[1:]) if len(sys.argv) > 1 else main()
