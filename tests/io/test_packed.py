"""Files are what their bytes say: packed or not, under the right name or a wrong one."""

import bz2
import gzip
import zipfile

import nibabel as nib
import numpy as np
import pytest
from nibabel.spm99analyze import Spm99AnalyzeImage

from condyle.errors import CondyleError, GeometryError, UnreadableFile
from condyle.io import dropped, read, read_labels

ARRAY = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
AFFINE = np.array([[-0.7, 0, 0, 10], [0, 0.8, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1.0]])
RAW = nib.Nifti1Image(ARRAY, AFFINE).to_bytes()


def packed(data, how):
    for step in how:
        data = gzip.compress(data, mtime=0) if step == "g" else bz2.compress(data)
    return data


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nii.bz2"])
@pytest.mark.parametrize("how", ["", "g", "gg", "b", "bg", "gb"])
def test_nifti_is_read_however_it_is_packed_whatever_its_name_says(tmp_path, ending, how):
    path = tmp_path / f"leg{ending}"
    path.write_bytes(packed(RAW, how))
    found = read(path)
    assert np.array_equal(found.array, ARRAY)
    assert np.allclose(found.grid.affine, AFFINE, atol=1e-6)
    assert dropped(path) == ()
    path.write_bytes(packed(RAW[:-20], how))
    with pytest.raises(UnreadableFile, match="leg"):
        read(path)
    if how:
        path.write_bytes(packed(RAW, how)[:-6])
        with pytest.raises(UnreadableFile, match="leg"):
            read(path)


def of_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


OTHERS = {
    "zip archive": of_zip,
    "NRRD": lambda path: path.write_bytes(b"NRRD0004\ntype: uint8\n\n"),
    "DICOM": lambda path: path.write_bytes(bytes(128) + b"DICM" + bytes(40)),
    "NIfTI": lambda path: path.write_bytes(RAW),
    "HDF5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600)),
    "web page": lambda path: path.write_text("\n<!DOCTYPE html><html>404</html>" * 30),
    "Git LFS": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n" * 20),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(4000)),
}
OWN = {".nii.gz": "NIfTI", ".nii": "NIfTI", ".nrrd": "NRRD", ".dcm": "DICOM", ".zip": "zip archive"}


@pytest.mark.parametrize(
    "ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".dcm", ".zip", ".mgz", ".hdr"]
)
@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_under_a_wrong_name_is_called_what_it_is(tmp_path, ending, kind):
    if OWN.get(ending) == kind:
        return
    path = tmp_path / f"leg{ending}"
    OTHERS[kind](path)
    with pytest.raises(CondyleError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    if (ending, kind) != (".hdr", "NIfTI"):  # then its .img is what is missing
        assert kind in str(caught.value)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("ending", [".mgz", ".mgh"])
def test_mgh_is_read_as_nibabel_reads_it(tmp_path, kind, ending):
    path = tmp_path / f"leg{ending}"
    nib.save(nib.MGHImage((ARRAY % 3).astype(kind), AFFINE), path)
    found = read(path)
    assert found.array.dtype == kind
    assert np.array_equal(found.array, ARRAY % 3)
    assert np.allclose(found.grid.affine, AFFINE, atol=1e-5)
    assert set(read_labels(path).present()) == {1, 2}
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.7)])
    with pytest.raises(UnreadableFile, match="leg"):
        read(path)


def test_mgh_without_a_spacing_is_refused(tmp_path):
    path = tmp_path / "leg.mgh"
    nib.save(nib.MGHImage(ARRAY, AFFINE), path)
    data = bytearray(path.read_bytes())
    data[30:34] = np.array(0, ">f4").tobytes()
    path.write_bytes(data)
    with pytest.raises(GeometryError, match="no spacing"):
        read(path)


@pytest.mark.parametrize(
    "kind", [nib.Nifti1Pair, nib.Nifti2Pair, nib.AnalyzeImage, Spm99AnalyzeImage]
)
def test_pairs_of_hdr_and_img_are_read_as_nibabel_reads_them(tmp_path, kind, caplog):
    affine = AFFINE if "Nifti" in kind.__name__ else np.diag([-0.7, 0.8, 2, 1])
    nib.save(kind(ARRAY, affine), tmp_path / "leg.hdr")
    for name in ("leg.hdr", "leg.img"):
        found = read(tmp_path / name)
        assert np.array_equal(found.array, ARRAY)
        assert np.allclose(found.grid.affine, nib.load(tmp_path / name).affine, atol=1e-5)
    assert ("left and right may be swapped" in caplog.text) == (kind is nib.AnalyzeImage)
    (tmp_path / "leg.img").unlink()
    with pytest.raises(UnreadableFile, match=r"leg\.img is not beside it"):
        read(tmp_path / "leg.hdr")


def test_zip_of_another_format_says_to_unpack_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.writestr("scan.nii.gz", b"\x1f\x8b nothing of DICOM")
    with pytest.raises(UnreadableFile, match=r"holds scan\.nii\.gz and no DICOM.*: unpack it"):
        read(tmp_path / "scan.zip")
