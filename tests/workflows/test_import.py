"""Scans and masks, or any known layout, become a data set; nothing is lost or leaks unseen."""

import gzip
import json
import logging

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import generate_uid

from condyle.app.cli.main import main
from condyle.config.requests import ImportRequest
from condyle.core import LOWER_LIMB, Fold, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import (
    CondyleError,
    ConfigError,
    DatasetError,
    LabelError,
    MissingFile,
    OverlapError,
    SplitError,
)
from condyle.io import open_dataset, read, write, write_splits
from condyle.workflows.importing.import_scans import import_scans
from slices import dicom_image

GRID = Grid.regular((4, 5, 30), (1, 2, 2), origin=(-3, 7, 100))
TIBIA, FEMUR = LOWER_LIMB["tibia"].id, LOWER_LIMB["femur"].id


def scan(number=0, grid=GRID):
    rng = np.random.default_rng(number)
    return Volume(rng.integers(-1000, 900, grid.shape).astype(np.int16), grid)


def mask(low, high, grid=GRID, value=255):
    """A mask of the slices from low to high."""
    array = np.zeros(grid.shape, np.uint8)
    array[..., low:high] = value
    return Volume(array, grid)


def cohort(root, names, overlap=0):
    """Scans and a folder of masks each: the femur on slices 15 to 18, the tibia below."""
    for n, name in enumerate(names):
        write(scan(n), root / "scans" / f"{name}.nii.gz")
        write(mask(10, 15 + overlap), root / "masks" / name / "R_tibia.nii.gz")
        write(mask(15, 18), root / "masks" / name / "femur_right.nrrd")
    return [root / "scans"], [root / "masks"]


def labels_in(dataset, case):
    return open_dataset(dataset)[case].labels().array


def require_nnunet(root):
    """What nnU-Net's verify_dataset_integrity asks of a raw data set, and what its loader needs."""
    facts = json.loads((root / "dataset.json").read_text())
    assert {"channel_names", "labels", "numTraining", "file_ending"} <= set(facts)
    assert list(facts["channel_names"]) == [str(n) for n in range(len(facts["channel_names"]))]
    ending = facts["file_ending"]
    maps = sorted((root / "labelsTr").glob(f"*{ending}"))
    assert facts["numTraining"] == len(maps) == len(list((root / "labelsTr").iterdir()))
    numbers = sorted(facts["labels"].values())
    assert facts["labels"]["background"] == 0
    assert numbers == list(range(len(numbers)))
    images = {p.name for p in (root / "imagesTr").iterdir()}
    cases = [p.name.removesuffix(ending) for p in maps]
    channels = range(len(facts["channel_names"]))
    assert images == {f"{case}_{n:04d}{ending}" for case in cases for n in channels}
    for case in cases:
        label = nib.load(root / "labelsTr" / f"{case}{ending}")
        values = np.asanyarray(label.dataobj)
        assert np.issubdtype(values.dtype, np.integer)
        assert set(np.unique(values).tolist()) <= set(numbers)
        for n in channels:
            image = nib.load(root / "imagesTr" / f"{case}_{n:04d}{ending}")
            assert image.shape == label.shape
            assert len(image.shape) == 3
            np.testing.assert_array_equal(image.affine, label.affine)
            assert np.isfinite(image.get_fdata()).all()
    if (root / "splits_final.json").is_file():
        for fold in json.loads((root / "splits_final.json").read_text()):
            assert set(fold["train"]) | set(fold["val"]) <= set(cases)


def test_masks_become_a_folder_that_nnunet_trains_on(tmp_path):
    given = cohort(tmp_path, ["a", "b", "c"])
    out = tmp_path / "Dataset042_Legs"
    said = import_scans(
        ImportRequest(
            scans=given[0], masks=given[1], out=out, scheme="lower-limb", split="leave-one-out"
        )
    ).text
    require_nnunet(out)
    assert said.splitlines() == [
        f"3 scans with tibia, femur (no case holds fibula, pelvis) written into {out}",
        "R_tibia -> tibia; femur_right -> femur",
        "nnU-Net keeps to splits_final.json where a copy lies in its nnUNet_preprocessed",
    ]
    labels = labels_in(out, "b")
    assert (labels[..., 10:15] == TIBIA).all()
    assert (labels[..., 15:18] == FEMUR).all()
    np.testing.assert_array_equal(open_dataset(out)["b"].image().array, scan(1).array)
    assert sorted(p.name for p in out.iterdir()) == [
        "dataset.json", "imagesTr", "import.json", "labelsTr", "names.csv",
        "splits_final.json",
    ]  # fmt: skip


def test_the_same_import_gives_the_same_bytes(tmp_path):
    given = cohort(tmp_path, ["a", "b", "c"])
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        import_scans(
            ImportRequest(
                scans=given[0],
                masks=given[1],
                out=tmp_path / name / "data",
                split="leave-one-out",
                area="labelled",
            )
        )
    one, two = (
        {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


def test_overlaps_are_counted_in_a_table_and_said(tmp_path):
    given = cohort(tmp_path, ["a", "b"], overlap=1)
    with pytest.raises(OverlapError, match=r"tibia and femur share 20 voxels"):
        import_scans(
            ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "no", scheme="knee")
        )
    assert not (tmp_path / "no").exists()
    out = tmp_path / "out"
    said = import_scans(
        ImportRequest(scans=given[0], masks=given[1], out=out, scheme="knee", overlap="background")
    ).text
    assert "a, b: tibia and femur share 20 voxels (0.08 cm³): they became background" in said
    rows = (out / "overlaps.csv").read_text().splitlines()
    assert rows == [
        "case,first,second,voxels,cm3", "a,tibia,femur,20,0.08", "b,tibia,femur,20,0.08",
    ]  # fmt: skip
    labels = labels_in(out, "a")
    assert set(np.unique(labels)) == {0, 1, 2}
    assert not labels[..., 15].any()


def test_one_scans_masks_can_be_listed(tmp_path):
    cohort(tmp_path, ["a"])
    files = sorted((tmp_path / "masks" / "a").iterdir())
    import_scans(
        ImportRequest(scans=[tmp_path / "scans"], masks=files, out=tmp_path / "out", scheme="knee")
    )
    assert set(np.unique(labels_in(tmp_path / "out", "a"))) == {0, 1, 2}


def test_a_label_map_called_like_its_scan_is_no_mask_even_if_it_is_called_femur(tmp_path):
    both = mask(10, 15, value=1).array + mask(15, 18, value=2).array
    write(scan(), tmp_path / "scans" / "femur.nii.gz")
    write(Volume(both, GRID), tmp_path / "maps" / "femur.nii.gz")
    import_scans(
        ImportRequest(
            scans=[tmp_path / "scans"],
            masks=[tmp_path / "maps"],
            out=tmp_path / "out",
            scheme="knee",
        )
    )
    np.testing.assert_array_equal(labels_in(tmp_path / "out", "femur"), both)


def test_a_lone_mask_of_another_structure_is_no_label_map(tmp_path):
    given = cohort(tmp_path, ["a", "b"])
    for file in (tmp_path / "masks" / "b").iterdir():
        file.unlink()
    write(mask(0, 3, value=1), tmp_path / "masks" / "b" / "patella.nii.gz")
    with pytest.raises(DatasetError, match=r"none of its masks .*: b \(patella\)"):
        import_scans(
            ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out", scheme="knee")
        )
    import_scans(ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out"))
    assert open_dataset(tmp_path / "out").scheme.names == ("R_tibia", "femur_right", "patella")


@pytest.mark.parametrize("name", ["segmentation", "a_annotated"])
def test_a_folder_may_hold_a_label_map(tmp_path, name):
    both = mask(10, 15, value=1).array + mask(15, 18, value=2).array
    write(scan(), tmp_path / "scans" / "a.nii.gz")
    write(Volume(both, GRID), tmp_path / "masks" / "a" / f"{name}.nii.gz")
    import_scans(
        ImportRequest(
            scans=[tmp_path / "scans"],
            masks=[tmp_path / "masks"],
            out=tmp_path / "out",
            scheme="knee",
        )
    )
    np.testing.assert_array_equal(labels_in(tmp_path / "out", "a"), both)


def test_masks_and_label_maps_together_need_a_scheme(tmp_path):
    given = cohort(tmp_path, ["a", "b"])
    for file in (tmp_path / "masks" / "b").iterdir():
        file.unlink()
    write(mask(0, 3, value=2), tmp_path / "masks" / "b" / "b.nii.gz")
    with pytest.raises(ConfigError, match=r"b has a label map.*`scheme`"):
        import_scans(ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out"))
    import_scans(ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out", scheme="knee"))
    assert set(np.unique(labels_in(tmp_path / "out", "b"))) == {0, 2}


def test_a_mask_of_several_numbers_is_refused(tmp_path):
    given = cohort(tmp_path, ["a"])
    array = mask(0, 3, value=1).array + mask(3, 6, value=9).array
    write(Volume(array, GRID), tmp_path / "masks" / "a" / "R_tibia.nii.gz")
    asked = ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out", scheme="knee")
    with pytest.raises(LabelError, match=r"a/R_tibia.nii.gz holds several numbers \(1, 9\)"):
        import_scans(asked)
    two = LabelScheme.of({"one": 1, "two": 9})
    (tmp_path / "masks" / "a" / "R_tibia.nii.gz").unlink()
    write(LabelMap(array, GRID, two), tmp_path / "masks" / "a" / "R_tibia.seg.nrrd")
    with pytest.raises(LabelError, match=r"R_tibia.seg.nrrd holds 2 segments \(one, two\)"):
        import_scans(asked)


def test_a_mask_that_fills_the_scan_is_refused(tmp_path):
    given = cohort(tmp_path, ["a"])
    write(mask(0, 30), tmp_path / "masks" / "a" / "R_tibia.nii.gz")
    with pytest.raises(LabelError, match=r"a/R_tibia.nii.gz fills the whole scan"):
        import_scans(
            ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out", scheme="knee")
        )


def test_label_maps_that_name_themselves_are_understood_by_name(tmp_path):
    swapped = LabelScheme.of({"femur": 1, "R_tibia": 2, "patella": 3})
    array = mask(0, 3, value=1).array + mask(3, 6, value=2).array + mask(6, 9, value=3).array
    write(scan(), tmp_path / "a.nii.gz")
    write(LabelMap(array, GRID, swapped), tmp_path / "maps" / "a.seg.nrrd")
    said = import_scans(
        ImportRequest(
            scans=[tmp_path / "a.nii.gz"],
            masks=[tmp_path / "maps"],
            out=tmp_path / "o",
            scheme="knee",
        )
    ).text
    labels = labels_in(tmp_path / "o", "a")
    assert [labels[0, 0, k] for k in (0, 3, 6)] == [2, 1, 0]
    assert "labels that are not in the scheme became background: patella" in said


def test_numbers_with_gaps_are_closed_and_that_is_said(tmp_path):
    array = mask(0, 3, value=3).array + mask(3, 6, value=7).array
    write(scan(), tmp_path / "scans" / "a.nii.gz")
    write(Volume(array, GRID), tmp_path / "maps" / "a.nii.gz")
    out = tmp_path / "out"
    said = import_scans(
        ImportRequest(scans=[tmp_path / "scans"], masks=[tmp_path / "maps"], out=out)
    ).text
    assert "nnU-Net numbers labels from 1: label_3 was 3 and is 1, label_7 was 7 and is 2" in said
    require_nnunet(out)
    assert labels_in(out, "a")[0, 0, 3] == 2


def test_a_name_that_nnunet_does_not_know_is_told(tmp_path):
    given = cohort(tmp_path, ["a"])
    assert (
        "Dataset042_my_legs"
        in import_scans(
            ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "my legs")
        ).text
    )
    assert (
        "nnU-Net"
        not in import_scans(
            ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "Dataset007_Legs")
        ).text
    )


@pytest.mark.parametrize("table", [True, False])
def test_patients_are_numbered_and_split_as_one(tmp_path, table):
    names = [f"{who}_{side}" for who in ("smith", "jones", "brown") for side in ("left", "right")]
    given = cohort(tmp_path, names)
    how = "(.+)_(left|right)"
    if table:
        how = str(tmp_path / "who.csv")
        rows = "".join(f"{name},{name.split('_')[0]}\n" for name in names)
        (tmp_path / "who.csv").write_text(f"case,patient\n{rows}")
    out = tmp_path / "out"
    import_scans(
        ImportRequest(scans=given[0], masks=given[1], out=out, patients=how, split="1/1/1", seed=4)
    )
    text = (out / "patients.csv").read_text()
    assert text.splitlines()[:3] == [
        "case,patient", "brown_left,patient_001", "brown_right,patient_001",
    ]  # fmt: skip
    dataset = open_dataset(out)
    fold = dataset.fold(0)
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [2, 2, 2]
    for part in (fold.train, fold.validation, fold.test):
        assert len({case.split("_")[0] for case in part}) == 1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"patients": "(.+"}, ConfigError, "neither a .csv table nor"),
        ({"patients": ".+"}, ConfigError, "no group that is the patient"),
        ({"patients": "(.+)_left"}, DatasetError, "finds no patient in the case name a"),
        ({"patients": "nobody.csv"}, MissingFile, "nobody.csv is not there"),
        ({"split": "24/8/8"}, SplitError, "3 patients cannot be split into 24"),
        ({"split": "4-fold"}, SplitError, "3 patient.* cannot be split into 4 folds"),
        ({"split": "half"}, SplitError, "unknown split 'half': write 24/8/8"),
        ({"volume": 3}, ConfigError, "volumes 0 to 0"),
        ({"scheme": "keen"}, ConfigError, "did you mean 'knee'"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_nothing_is_written(tmp_path, options, error, words):
    given = cohort(tmp_path, ["a", "b", "c"])
    with pytest.raises(error, match=words) as caught:
        import_scans(ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out", **options))
    assert isinstance(caught.value, CondyleError)
    assert not (tmp_path / "out").exists()


def test_a_table_must_name_every_case(tmp_path):
    given = cohort(tmp_path, ["a", "b"])
    (tmp_path / "t.csv").write_text("case,patient\na,x\n")
    with pytest.raises(DatasetError, match="has no patient for b"):
        import_scans(
            ImportRequest(
                scans=given[0],
                masks=given[1],
                out=tmp_path / "out",
                patients=str(tmp_path / "t.csv"),
            )
        )
    (tmp_path / "t.csv").write_text("name\na\n")
    with pytest.raises(DatasetError, match="columns case and patient"):
        import_scans(
            ImportRequest(
                scans=given[0],
                masks=given[1],
                out=tmp_path / "out",
                patients=str(tmp_path / "t.csv"),
            )
        )


def test_who_is_left_out_of_a_split_is_counted(tmp_path):
    given = cohort(tmp_path, ["a", "b", "c", "d"])
    assert (
        "the split 1/1/1 leaves out 1 of the patients"
        in import_scans(
            ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out", split="1/1/1")
        ).text
    )


def test_folds_share_out_the_structures(tmp_path):
    given = cohort(tmp_path, list("abcdefgh"))
    for name in "adfh":
        (tmp_path / "masks" / name / "femur_right.nrrd").unlink()
    import_scans(
        ImportRequest(
            scans=given[0], masks=given[1], out=tmp_path / "out", split="4-fold", scheme="knee"
        )
    )
    for fold in open_dataset(tmp_path / "out").folds:
        assert len(set(fold.validation) & set("adfh")) == 1


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAL"])
def test_the_labelled_slices_are_cut_out_and_stay_in_their_place(tmp_path, orientation):
    turned = scan().reoriented(orientation)
    write(turned, tmp_path / "scans" / "a.nii.gz")
    write(mask(12, 14).reoriented(orientation), tmp_path / "masks" / "a" / "tibia.nii.gz")
    given = [tmp_path / "scans"], [tmp_path / "masks"]
    out = tmp_path / "out"
    said = import_scans(
        ImportRequest(scans=given[0], masks=given[1], out=out, scheme="knee", area="labelled")
    ).text
    assert "12 of 30 axial slices kept" in said
    (volume,), labels = open_dataset(out)["a"].pair()
    assert volume.grid.orientation == orientation
    ras, whole = volume.reoriented("RAS"), scan()
    assert ras.grid.same_as(whole.grid.cropped((0, 0, 7), (4, 5, 19)))
    np.testing.assert_array_equal(ras.array, whole.array[..., 7:19])
    assert labels.reoriented("RAS").array[0, 0].tolist() == [0] * 5 + [1] * 2 + [0] * 5
    (facts,) = json.loads((out / "import.json").read_text())
    assert (facts["axial_slices"], facts["axial_slices_kept"]) == (30, 12)
    assert facts["orientation"] == orientation


def test_a_scan_without_labels_cannot_be_cut_to_them(tmp_path):
    given = cohort(tmp_path, ["a"])
    for file in (tmp_path / "masks" / "a").iterdir():
        write(mask(0, 0), file)
    with pytest.raises(LabelError, match="a has no labels to cut it to"):
        import_scans(
            ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out", area="labelled")
        )


def test_scans_of_one_name_and_masks_of_no_scan_are_told(tmp_path):
    given = cohort(tmp_path, ["a", "b"])
    (tmp_path / "scans" / "b.nii.gz").rename(tmp_path / "scans" / "c.nii.gz")
    with pytest.raises(DatasetError, match="no masks for scan c"):
        import_scans(ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out"))
    write(scan(), tmp_path / "scans" / "b.nii.gz")
    (tmp_path / "scans" / "c.nii.gz").unlink()
    write(mask(0, 3), tmp_path / "masks" / "z" / "tibia.nii.gz")
    said = import_scans(ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out")).text
    assert "masks without a scan were ignored: z" in said
    with pytest.raises(DatasetError, match="more than one scan is called a"):
        import_scans(
            ImportRequest(
                scans=[*given[0], tmp_path / "scans" / "a.nii.gz"],
                masks=given[1],
                out=tmp_path / "o",
            )
        )
    with pytest.raises(ConfigError, match="give the scans' masks"):
        import_scans(ImportRequest(scans=given[0], masks=[], out=tmp_path / "o"))


def test_one_volume_of_several_is_imported(tmp_path):
    array = np.stack([scan(n).array for n in range(3)], axis=-1)
    image = nib.Nifti1Image(array, GRID.affine)
    image.set_sform(GRID.affine, 1)
    nib.save(image, tmp_path / "a.nii.gz")
    write(mask(0, 3), tmp_path / "tibia.nii.gz")
    import_scans(
        ImportRequest(
            scans=[tmp_path / "a.nii.gz"],
            masks=[tmp_path / "tibia.nii.gz"],
            out=tmp_path / "out",
            scheme="knee",
            volume=2,
        )
    )
    volume = open_dataset(tmp_path / "out")["a"].image()
    np.testing.assert_array_equal(volume.array, array[..., 2])


def test_voxels_that_are_no_numbers_are_filled_and_that_is_told(tmp_path):
    given = cohort(tmp_path, ["a"])
    array = scan().array.astype(np.float32)
    array[1, 1, 1] = np.nan
    write(Volume(array, GRID), tmp_path / "scans" / "a.nii.gz")
    import_scans(ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out"))
    require_nnunet(tmp_path / "out")
    (facts,) = json.loads((tmp_path / "out" / "import.json").read_text())
    assert any("1 voxels that are NaN" in said for said in facts["warnings"])


def test_one_series_of_a_folder_is_imported(tmp_path):
    for number in (1, 2):
        dicom(tmp_path / "leg", SeriesNumber=number, RescaleIntercept=-number)
    volume = read(tmp_path / "leg", series="2")
    tibia = np.ones(volume.grid.shape, np.uint8)
    tibia[0] = 0
    write(volume.with_array(tibia), tmp_path / "tibia.nii.gz")
    given = [tmp_path / "leg"], [tmp_path / "tibia.nii.gz"]
    with pytest.raises(CondyleError, match="2 series"):
        import_scans(
            ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out", scheme="knee")
        )
    import_scans(
        ImportRequest(
            scans=given[0], masks=given[1], out=tmp_path / "out", scheme="knee", series="2"
        )
    )
    np.testing.assert_array_equal(open_dataset(tmp_path / "out")["leg"].image(), volume.array)
    assert volume.array[0, 0, 0] == 998


def test_mixed_modalities_are_not_called_ct(tmp_path):
    given = cohort(tmp_path, ["a", "b"])
    grey = np.random.default_rng(0).integers(0, 400, GRID.shape).astype(np.int16)
    ct = np.where(np.arange(30) < 6, -1000, grey % 100).astype(np.int16)
    ct[0, 0, -5:] = 800
    for name, array in (("a", grey), ("b", ct)):
        write(Volume(array, GRID), tmp_path / "scans" / f"{name}.nii.gz")
    said = import_scans(ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "out")).text
    assert "1 of 2 scans look like CT" in said
    assert open_dataset(tmp_path / "out").channel_names == ("image",)


# ---------------------------------------------------------------- data sets of other layouts


def test_decathlon_becomes_nnunet_with_its_splits_patients_and_channels(tmp_path):
    root = tmp_path / "msd"
    for n, name in enumerate("abcd"):
        array = np.stack([scan(n).array, scan(n + 9).array], axis=-1)
        image = nib.Nifti1Image(array, GRID.affine)
        image.set_sform(GRID.affine, 1)
        (root / "imagesTr").mkdir(parents=True, exist_ok=True)
        nib.save(image, root / "imagesTr" / f"{name}.nii.gz")
        if name != "d":
            write(mask(3, 6, value=4), root / "labelsTr" / f"{name}.nii.gz")
    facts = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "4": "bone"}}
    (root / "dataset.json").write_text(json.dumps(facts))
    (root / "patients.csv").write_text("case,patient\na,smith\nb,smith\nc,a\nd,d\n")
    folds = (Fold(("a", "b"), ("c",)), Fold(("c",), ("a", "b")))
    write_splits(root / "splits_final.json", folds)
    out = tmp_path / "new"
    said = import_scans(ImportRequest(scans=[root], masks=[], out=out)).text
    require_nnunet(out)
    assert "bone was 4 and is 1" in said
    dataset = open_dataset(out)
    assert dataset.channel_names == ("T1", "T2")
    assert dataset.folds == folds
    assert [case.patient for case in dataset] == [
        "patient_001", "patient_001", "patient_002", "patient_003",
    ]  # fmt: skip
    assert dataset["d"].label is None
    np.testing.assert_array_equal(dataset["b"].channels()[1].array, scan(10).array)
    assert (labels_in(out, "a")[..., 3:6] == 1).all()


def test_totalsegmentator_becomes_nnunet_under_the_overlap_policy(tmp_path):
    root = tmp_path / "ts"
    for case in ("s1", "s2"):
        write(scan(), root / case / "ct.nii.gz")
        write(mask(3, 9), root / case / "segmentations" / "femur_left.nii.gz")
        write(mask(8, 12), root / case / "segmentations" / "hip_left.nii.gz")
        write(mask(0, 29), root / case / "segmentations" / "aorta.nii.gz")
    with pytest.raises(OverlapError, match="share"):
        import_scans(ImportRequest(scans=[root], masks=[], out=tmp_path / "no"))
    out = tmp_path / "new"
    said = import_scans(
        ImportRequest(scans=[root], masks=[], out=out, scheme="lower-limb", overlap="priority")
    ).text
    require_nnunet(out)
    assert "s1, s2: not in the scheme, ignored: aorta.nii.gz" in said
    assert "s2,femur,pelvis,20,0.08" in (out / "overlaps.csv").read_text()
    assert labels_in(out, "s1")[0, 0, [3, 8, 9, 20]].tolist() == [2, 2, 4, 0]
    assert open_dataset(out).channel_names == ("CT",)


def test_a_data_set_with_leaking_folds_is_refused(tmp_path):
    given = cohort(tmp_path, ["a", "b", "c"])
    import_scans(ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "one"))
    (tmp_path / "one" / "patients.csv").write_text("case,patient\na,x\nb,x\n")
    write_splits(tmp_path / "one" / "splits_final.json", [Fold(("a",), ("b",))])
    with pytest.raises(SplitError, match="two sides"):
        import_scans(ImportRequest(scans=[tmp_path / "one"], masks=[], out=tmp_path / "two"))
    import_scans(
        ImportRequest(
            scans=[tmp_path / "one"], masks=[], out=tmp_path / "two", split="leave-one-out"
        )
    )
    assert len(open_dataset(tmp_path / "two").folds) == 2
    with pytest.raises(ConfigError, match="`volume` cannot be used here"):
        import_scans(
            ImportRequest(scans=[tmp_path / "one"], masks=[], out=tmp_path / "three", volume=0)
        )


def test_a_data_set_imported_twice_is_the_same(tmp_path):
    given = cohort(tmp_path, ["a", "b"])
    import_scans(
        ImportRequest(
            scans=given[0],
            masks=given[1],
            out=tmp_path / "one",
            patients="(.)",
            split="leave-one-out",
        )
    )
    import_scans(ImportRequest(scans=[tmp_path / "one"], masks=[], out=tmp_path / "two"))
    one, two = (
        {str(p.relative_to(r)): p.read_bytes() for p in r.rglob("*") if p.suffix in (".gz", ".csv")}
        for r in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    folds = [(tmp_path / n / "splits_final.json").read_text() for n in ("one", "two")]
    assert folds[0] == folds[1]


@pytest.mark.parametrize("scheme", ["", "knee"])
def test_voxels_that_nobody_labelled_stay_so_and_get_the_last_number(tmp_path, scheme):
    named = LabelScheme.of({"femur": 5, "ignore": 1, "patella": 7})
    array = mask(0, 3, value=5).array + mask(3, 6, value=1).array + mask(6, 9, value=7).array
    write(scan(), tmp_path / "given" / "images" / "a.nii.gz")
    write(Volume(array, GRID), tmp_path / "given" / "labels" / "a.nii.gz")
    (tmp_path / "given" / "labels.json").write_text(json.dumps(named.to_dict()))
    said = import_scans(
        ImportRequest(scans=[tmp_path / "given"], masks=[], out=tmp_path / "o", scheme=scheme)
    ).text
    found = open_dataset(tmp_path / "o")
    numbers = {"": {"femur": 1, "patella": 2}, "knee": {"tibia": 1, "femur": 2}}[scheme]
    assert found.scheme.to_dict() == {**numbers, "ignore": 3}
    ends = [labels_in(tmp_path / "o", "a")[0, 0, k] for k in (0, 3, 6, 9)]
    assert ends == [numbers["femur"], 3, numbers.get("patella", 0), 0]
    assert ("ignore was 1 and is 3" in said) == (scheme == "")


def test_a_label_map_that_ignores_voxels_needs_a_scheme_that_does(tmp_path):
    array = mask(0, 3, value=1).array + mask(3, 6, value=2).array
    own = LabelScheme.of({"femur": 1, "ignore": 2})
    write(scan(), tmp_path / "a.nii.gz")
    write(LabelMap(array, GRID, own), tmp_path / "maps" / "a.seg.nrrd")
    given = [tmp_path / "a.nii.gz"], [tmp_path / "maps"]
    with pytest.raises(DatasetError, match="give 'ignore' a number"):
        import_scans(
            ImportRequest(scans=given[0], masks=given[1], out=tmp_path / "o", scheme="knee")
        )
    (tmp_path / "scheme.json").write_text('{"tibia": 1, "femur": 2, "ignore": 3}')
    import_scans(
        ImportRequest(
            scans=given[0], masks=given[1], out=tmp_path / "o", scheme=str(tmp_path / "scheme.json")
        )
    )
    assert [labels_in(tmp_path / "o", "a")[0, 0, k] for k in (0, 3, 6)] == [2, 3, 0]


# ---------------------------------------------------------------- what must not travel

CANARIES = {
    "PatientName": "Canaryname^Yellow", "PatientID": "CANARYID77", "PatientBirthDate": "19610203",
    "StudyDate": "20170405", "SeriesDate": "20170406", "AcquisitionDate": "20170407",
    "ContentDate": "20170408", "StudyTime": "112233.445", "AccessionNumber": "CANARYACC",
    "ReferringPhysicianName": "Canarydoctor^D", "InstitutionName": "Canaryclinic",
    "PatientAge": "056Y", "PatientComments": "canarycomment", "StudyID": "CANARYSTUDY",
    "OperatorsName": "Canaryoperator", "StationName": "CANARYSTATION",
    "StudyDescription": "canarystudytext", "DeviceSerialNumber": "CANARYSERIAL",
}  # fmt: skip


def dicom(folder, shape=(6, 5, 4), **more):
    """A CT series of 4 slices with canaries in its headers."""
    folder.mkdir(parents=True, exist_ok=True)
    series, study = generate_uid(), generate_uid()
    for n in range(shape[2]):
        elements = {
            "SeriesInstanceUID": series, "StudyInstanceUID": study,
            "FrameOfReferenceUID": generate_uid(), "SeriesNumber": 1, "InstanceNumber": n + 1,
            "ImagePositionPatient": [0, 0, 2.0 * n], "PixelSpacing": [1, 1],
        }  # fmt: skip
        stored = np.full((shape[1], shape[0]), 1000 + n)
        d = dicom_image(stored, **(elements | CANARIES | more))
        private = d.private_block(0x0009, "CANARYMAKER", create=True)
        private.add_new(1, "LO", "canaryprivate")
        d.save_as(folder / f"Canaryname_{d.SeriesNumber}_{n}.dcm", enforce_file_format=True)
    return folder


def test_no_name_id_or_date_leaves_the_dicom_files(tmp_path, capfd, caplog):
    scans, out = tmp_path / "scans", tmp_path / "Dataset001_Legs"
    dicom(scans / "leg_a")
    dicom(scans / "leg_b")
    dicom(scans / "leg_c", PatientID="CANARYOTHER")
    for name in ("leg_a", "leg_b", "leg_c"):
        volume = read(scans / name)
        array = np.zeros(volume.grid.shape, np.uint8)
        array[1:3, 1:3, 1:3] = 1
        write(volume.with_array(array), tmp_path / "masks" / name / "tibia.nii.gz")
    words = ["import", scans, "--masks", tmp_path / "masks", "--out", out, "--split", "1/1/0"]
    with caplog.at_level(logging.DEBUG), pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0
    require_nnunet(out)
    assert (out / "patients.csv").read_text().splitlines() == [
        "case,patient", "leg_a,patient_001", "leg_b,patient_001", "leg_c,patient_002",
    ]  # fmt: skip
    found = [*capfd.readouterr(), caplog.text]
    for path in out.rglob("*"):
        found.append(path.name)
        if path.is_file():
            raw = path.read_bytes()
            raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
            found.append(raw.decode("latin-1"))
    everything = "\n".join(found).lower()
    for value in [*CANARIES.values(), "canary", "1961", "2017"]:
        assert value.lower() not in everything, value
    facts = json.loads((out / "import.json").read_text())[0]
    assert {"PatientName", "StudyDate", "AccessionNumber"} <= set(facts["dropped"])
    assert facts["dropped_private"] >= 1
    assert (facts["format"], facts["modality"], facts["shape"]) == ("dicom", "CT", [6, 5, 4])
    assert facts["spacing_mm"] == [1.0, 1.0, 2.0]


def test_warnings_are_kept_without_paths(tmp_path):
    secret = tmp_path / "Smith John 1961"
    array = scan().array
    secret.mkdir()
    nib.save(nib.Nifti1Image(array, None), secret / "leg.nii.gz")
    nib.save(nib.Nifti1Image((array > 0).astype(np.uint8), None), secret / "tibia.nii.gz")
    image = nib.load(secret / "leg.nii.gz")
    assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 0
    import_scans(
        ImportRequest(
            scans=[secret / "leg.nii.gz"], masks=[secret / "tibia.nii.gz"], out=tmp_path / "out"
        )
    )
    text = (tmp_path / "out" / "import.json").read_text()
    (facts,) = json.loads(text)
    assert any("leg does not say how the scan is oriented" in said for said in facts["warnings"])
    assert "Smith" not in text
    assert str(tmp_path) not in text
