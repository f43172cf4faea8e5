"""A folder with .mgz, .hdr/.img and .nii.bz2 beside .nii.gz, and what nobody reads; BIDS.

Kin to Deep-MI/FastSurfer#516, xiangruili/dicm2nii#2. Kind: C.
"""

import bz2

import nibabel
import numpy as np

from condyle.io import read

AFFINE = np.diag([-1, 1, 3, 1.0])


def make(folder):
    scans = folder / "scans"
    scans.mkdir()
    array = np.random.default_rng(0).integers(-900, 900, (12, 11, 10)).astype(np.int16)
    image = nibabel.Nifti1Image(array, AFFINE)
    image.to_filename(scans / "leg1.nii.gz")
    nibabel.MGHImage(array, AFFINE).to_filename(scans / "leg2.mgz")
    nibabel.Nifti1Pair(array, AFFINE).to_filename(scans / "leg3.hdr")
    (scans / "leg4.nii.bz2").write_bytes(bz2.compress(image.to_bytes()))
    nibabel.AnalyzeImage(array, AFFINE).to_filename(scans / "leg5.hdr")
    (scans / "leg6.tif").write_bytes(b"II*\0")
    (scans / "leg7.nii.gz").symlink_to(folder / "gone.nii.gz")
    (scans / "leg1.json").write_text("{}")
    for session in ("ses-1", "ses-2"):
        for subject in ("sub-01", "sub-02"):
            anatomy = folder / "bids" / subject / session / "anat"
            anatomy.mkdir(parents=True)
            image.to_filename(anatomy / f"{subject}_{session}_T1w.nii.gz")
    (folder / "bids" / "participants.tsv").write_text("participant_id\n")
    derived = folder / "bids" / "derivatives" / "sub-01"
    derived.mkdir(parents=True)
    image.to_filename(derived / "mask.nii.gz")
    for patient in ("P01", "P02"):
        (folder / "patients" / patient).mkdir(parents=True)
        image.to_filename(folder / "patients" / patient / "scan.nii.gz")


def right(field):
    first = read(field.given / "scans" / "leg1.nii.gz")
    for name in ("leg2.mgz", "leg3.hdr", "leg4.nii.bz2", "leg5.hdr"):
        other = read(field.given / "scans" / name)
        assert np.array_equal(other.array, first.array), name
        if name != "leg5.hdr":  # Analyze knows no place
            assert np.allclose(other.grid.affine, first.grid.affine, atol=1e-5)
    wanted = {
        "scans": [f"leg{number}" for number in range(1, 6)],
        "bids": [f"sub-0{n}_ses-{s}_T1w" for n in (1, 2) for s in (1, 2)],
        "patients": ["P01_scan", "P02_scan"],
    }
    said = {}
    for kind, names in wanted.items():
        out = field.out / kind
        said[kind] = field.condyle("segment", field.run, field.given / kind, "--out", out)
        assert said[kind].code == 0
        assert sorted(path.name for path in out.glob("*.nii.gz")) == [f"{n}.nii.gz" for n in names]
    assert "passed over 2" in said["scans"].text
    assert "leg6.tif: a picture beside scans" in said["scans"].text
    assert "leg7.nii.gz: a link to nothing" in said["scans"].text
    assert "leg1.json" not in said["scans"].text
    assert "left and right may be swapped" in said["scans"].text
    assert "derivatives" in said["bids"].text
    assert "passed over" not in said["patients"].text
