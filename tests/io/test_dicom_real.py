"""Real DICOM folders: each reads to the geometry and voxels of its references, or is refused."""

import re
import subprocess

import dcm2niix
import numpy as np
import pytest
import SimpleITK as sitk

from condyle.errors import GeometryError, UnreadableFile
from condyle.io import read

READ = (
    "dcmqi/segmentations/23x38x3/image",
    "dcmqi/segmentations/23x38x3/multiframe",
    "dcmqi/segmentations/24x38x3/image",
    "dcmqi/segmentations/24x38x3/multiframe",
    "dcmqi/segmentations/ct-3slice",
    "dicom2nifti/failing/slicecount/001",
    "dicom2nifti/ge/anatomical/001",
    "dicom2nifti/ge/anatomical/001_implicit",
    "dicom2nifti/generic/anatomical/001",
    "dicom2nifti/generic/anatomical/001_implicit",
    "dicom2nifti/generic/anatomical/002_non_isotropic",
    "dicom2nifti/generic/compressed/001",
    "dicom2nifti/generic/compressed_j2k/001",
    "dicom2nifti/generic/compressed_jpeg/001",
    "dicom2nifti/generic/compressed_jpegls/001",
    "dicom2nifti/generic/compressed_rle/001",
    "dicom2nifti/hitachi/anatomical/001",
    "dicom2nifti/hitachi/anatomical/001_implicit",
    "dicom2nifti/hyperfine/anatomical/001",
    "dicom2nifti/siemens_multiframe/anatomical/001",
    "mr_anisotropic/11-T1post-18670",
    "mr_anisotropic/13_HCropVolume",
    "torchio_ct17",
)
SCALED_OTHERWISE = (
    "dicom2nifti/philips_enhanced/anatomical/001",
    "dicom2nifti/philips_enhanced/anatomical/001_implicit",
)
"""dcm2niix takes Philips' private scale instead of the rescale slope: same place, other unit."""

TILTED = ("dcm_qa_ct/Philips_tilt-18p5_10slices", "dicom2nifti/failing/gantrytilting/001")

REFUSED = {
    "dcm_qa_ct/GE_tilt18p5_variable_gaps": "unevenly spaced",
    "dcmqi/segmentations": "holds 5 series",
    "dcmqi/segmentations/23x38x3/seg": "only objects of modality SEG",
    "dicom2nifti/failing/notavolume/001": "one slice 4 times",
    "dicom2nifti/failing/sliceincrement/001": "slices missing",
    "dicom2nifti/failing/sliceincrement/002": "slices missing",
    "dicom2nifti/failing/sliceorientation/001": "holds 2 series",
    "dicom2nifti/ge/anatomical/001_single_slice": "unknown thickness",
    "dicom2nifti/generic/rgb/001": "in colour",
    "nibabel": "holds 4 series",
}


def by_dcm2niix(folder, out):
    """The scans that dcm2niix makes of a folder, in RAS axes."""
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "scan", "-o", out, folder]
    subprocess.run(command, check=True, capture_output=True)
    return {f.name: f for f in sorted(out.glob("*.nii"))}


@pytest.mark.parametrize("series", [*READ, *SCALED_OTHERWISE])
def test_a_real_series_reads_as_dcm2niix_and_its_ground_truth_have_it(shared, tmp_path, series):
    folder = shared / "dicom_robustness" / series
    ours = read(folder).reoriented("RAS")
    (file,) = by_dcm2niix(folder, tmp_path).values()
    theirs = read(file).reoriented("RAS")
    assert ours.grid.distance_to(theirs.grid) < 2e-3
    if series not in SCALED_OTHERWISE:
        np.testing.assert_allclose(ours.array, theirs.array, rtol=1e-5)
    reference = folder.with_name(f"{folder.name}_ground_truth.nii.gz")
    if reference.is_file():
        truth = read(reference).reoriented("RAS")
        assert ours.grid.distance_to(truth.grid) < 2e-3
        np.testing.assert_allclose(ours.array, truth.array, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("series", TILTED)
def test_a_tilted_series_is_straightened_as_dcm2niix_does(shared, tmp_path, caplog, series):
    folder = shared / "dicom_robustness" / series
    ours = read(folder).reoriented("RAS")
    assert re.search("gantry tilted by (18.5|14) degrees", caplog.text)
    (file,) = [f for name, f in by_dcm2niix(folder, tmp_path).items() if "_Tilt" in name]
    theirs = read(file).reoriented("RAS")
    assert ours.grid.distance_to(theirs.grid) < 1e-3
    # they leave out the first row of each slice
    assert np.mean(np.abs(ours.array - theirs.array.astype(float)) > 1) < 2e-3


@pytest.mark.parametrize("series", REFUSED)
def test_a_series_without_a_known_truth_is_refused_by_its_cause(shared, series):
    with pytest.raises((GeometryError, UnreadableFile), match=REFUSED[series]):
        read(shared / "dicom_robustness" / series)


@pytest.mark.parametrize("series", [s for s in READ if "frame" not in s and "hyper" not in s])
def test_a_real_series_reads_as_simpleitk_has_it(shared, series):
    folder = shared / "dicom_robustness" / series
    ours = read(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    theirs = reader.Execute()
    np.testing.assert_allclose(ours.array, sitk.GetArrayFromImage(theirs).T, rtol=1e-6)
    for corner in ((0, 0, 0), tuple(n - 1 for n in ours.grid.shape)):
        lps = np.array(theirs.TransformIndexToPhysicalPoint(corner)) * (-1, -1, 1)
        np.testing.assert_allclose(ours.grid.index_to_world(corner), lps, atol=0.02)


@pytest.mark.parametrize(
    ("dicom", "nifti"),
    [("CT", "CT_image.nii.gz"), ("MR_T1", "MR_T1_image.nii.gz"), ("PET", "PET_image.nii.gz")],
)
def test_a_series_of_a_patient_equals_its_nifti(shared, tmp_path, dicom, nifti):
    folder = shared / "sts_dicom_rtstruct" / "STS_028" / dicom / "image"
    known = shared / "sts_extremity" / "STS_028" / nifti
    ours = read(folder).reoriented("RAS")
    for path in [known, *by_dcm2niix(folder, tmp_path).values()]:
        theirs = read(path).reoriented("RAS")
        assert ours.grid.distance_to(theirs.grid) < 1e-2  # NIfTI's header is single precision
        np.testing.assert_allclose(ours.array, theirs.array, rtol=1e-5)
    with pytest.raises(UnreadableFile, match="only objects of modality RTSTRUCT"):
        read(folder.with_name("mask"))
