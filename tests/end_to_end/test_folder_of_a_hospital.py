"""The README's commands on folders as an archive exports them: right scans, each oddity once."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

import condyle
from condyle.app.cli.main import main
from condyle.core import LabelMap
from condyle.io import open_dataset
from condyle.phantom import leg
from slices import dicom_image, saved

ODDITIES = {
    "scout/0.dcm": "a scout",
    "dose/0.dcm": "an image without a place in the body",
    "RT/0.dcm": "RTSTRUCT",
    "report.pdf": "no format that Condyle reads",
    "lost": "a link to nothing",
}
"""What lies in every patient's study beside the scan, and how it is named."""

IN_THE_SERIES = "passed over beside the scan: 2 (note.txt: not DICOM; plan: RTSTRUCT)"

LABELLED, NEW = ("P01", "P02", "P03"), ("P04", "P05")

TINY = """
network.name = "unet-plain"
preparation.size = 32
training = {epochs = 1, steps = 20, batch = 4, rate = 5e-3, ema = 0.9}
"""


def series(scan):
    """The scan as DICOM images, one a slice."""
    uid, (a, b, _) = generate_uid(), scan.grid.spacing
    lps = np.diag((-1, -1, 1, 1)) @ scan.grid.affine
    turned = np.concatenate([lps[:3, 0] / a, lps[:3, 1] / b]).round(12).tolist()
    for k in range(scan.grid.shape[2]):
        yield dicom_image(
            scan.array[..., k].T.round().astype(int) + 1024, SeriesInstanceUID=uid,
            InstanceNumber=k + 1, PixelSpacing=[round(b, 9), round(a, 9)],
            ImageOrientationPatient=turned,
            ImagePositionPatient=(lps @ (0, 0, k, 1))[:3].round(9).tolist(),
        )  # fmt: skip


def without_place(data, **elements):
    del data.ImagePositionPatient
    del data.ImageOrientationPatient
    for name, value in elements.items():
        setattr(data, name, value)
    return data


def structures(image):
    """An RTSTRUCT as a plan brings it along, without contours."""
    data = without_place(image, Modality="RTSTRUCT")
    for name in ("Rows", "Columns", "PixelData"):
        del data[name]
    kind = "1.2.840.10008.5.1.4.1.1.481.3"
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    return data


def patient(folder, scan):
    """PATIENT/STUDY/SERIES of one patient, with all that an archive puts beside the scan."""
    study, one = folder / "20260101", np.zeros((20, 20))
    saved(study / "CT_thin", list(series(scan)))
    saved(study / "scout", [dicom_image(one, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
          PixelSpacing=[1, 1], ImagePositionPatient=[0, 0, 0], SeriesInstanceUID=generate_uid(),
          ImageOrientationPatient=[0, 1, 0, 0, 0, -1])])  # fmt: skip
    picture = dicom_image(one, SeriesInstanceUID=generate_uid(), ImagePositionPatient=[0, 0, 0])
    saved(study / "dose", [without_place(picture, SOPClassUID=SecondaryCaptureImageStorage)])
    plan = structures(dicom_image(one, ImagePositionPatient=[0, 0, 0],
                                  SeriesInstanceUID=generate_uid()))  # fmt: skip
    saved(study / "RT", [plan])
    plan.save_as(study / "CT_thin" / "plan", enforce_file_format=True)
    (study / "CT_thin" / "note.txt").write_text("ask Ann")
    (study / "report.pdf").write_bytes(b"%PDF")
    (study / "lost").symlink_to(folder / "nowhere")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Three patients with masks and a new one, and what each command said and its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("hospital"))
        patch.setenv("MALLOC_TOP_PAD_", "0")  # else the verb starts this process again
        for seed, name in enumerate(LABELLED):
            scan, truth = leg(seed, spacing=(6, 6, 20))
            patient(Path("scans", name), scan)
            for label in truth.scheme.labels:
                mask = LabelMap((truth.array == label.id).astype(np.uint8), truth.grid,
                                truth.scheme)  # fmt: skip
                condyle.write(mask, f"masks/{name}_CT_thin/{label.name}.nii.gz")
        for seed, name in enumerate(NEW):
            patient(Path("new_scans", name), leg(3 + seed, spacing=(6, 6, 20))[0])
        Path("tiny.toml").write_text(TINY)
        yield Path.cwd()


COMMANDS = (
    "import scans --masks masks --scheme lower-limb --overlap background --out data",
    "check data",
    "train data --config tiny.toml --out run",
    "segment run new_scans --out labels",
    "refine labels --keep-largest 1 --fill-holes --out clean",
    "mesh clean --out surfaces",
)


def test_commands_of_the_readme_on_folders_as_an_archive_exports_them(hospital, capsys):
    said = {}
    for command in COMMANDS:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(command.split())
        shown = capsys.readouterr()
        said[command.split()[0]] = " ".join((shown.out + shown.err).split())
        assert ended.value.code == 0, said
    cases = {case.id: case for case in open_dataset("data")}
    assert set(cases) == {f"{name}_CT_thin" for name in LABELLED}
    for seed, name in enumerate(sorted(cases)):
        scan, truth = leg(seed, spacing=(6, 6, 20))
        (channel,) = cases[name].channels()
        assert channel.grid.same_as(scan.grid, 1e-3)
        assert np.abs(channel.array - scan.array).max() <= 0.5
        assert np.array_equal(cases[name].labels().array, truth.array)
    new = {f"{who}_CT_thin": leg(3 + n, spacing=(6, 6, 20))[0] for n, who in enumerate(NEW)}
    for folder in ("labels", "clean"):
        found = {path.name: path for path in Path(folder).glob("*.nii.gz")}
        assert set(found) == {f"{name}.nii.gz" for name in new}
        for name, scan in new.items():
            labels = condyle.read_labels(found[f"{name}.nii.gz"])
            assert labels.grid.same_as(scan.grid, 1e-3)
    assert {path.name[:12] for path in Path("surfaces").glob("*.ply")} == {f"{n}_" for n in new}
    for verb, patients in (("import", LABELLED), ("segment", NEW)):
        assert f"passed over {len(ODDITIES) * len(patients)} " in said[verb]
        assert said[verb].count(IN_THE_SERIES) == len(patients)
        for who in patients[:2]:  # the line names twelve, and counts the rest
            for oddity, why in ODDITIES.items():
                assert said[verb].count(f"{who}/20260101/{oddity}: {why}") == 1
    assert not [verb for verb in ("check", "train", "refine", "mesh") if "passed" in said[verb]]
