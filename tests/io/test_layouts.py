"""Data set folders in every known layout, and nnU-Net's written whole."""

import json
import logging
import pickle

import numpy as np
import pytest

from condyle.core import KNEE, Fold, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import (
    CondyleError,
    DatasetError,
    GridMismatch,
    LabelError,
    MissingFile,
    OutputError,
    OverlapError,
    UnreadableFile,
)
from condyle.io import is_dataset, open_dataset, write, write_nnunet, write_splits

GRID = Grid.regular((3, 4, 5), (1, 1, 2))


def a_scan(number=0):
    return Volume(np.full(GRID.shape, number, np.int16), GRID)


def some_labels(*numbers, scheme=KNEE):
    array = np.zeros(GRID.shape, np.uint8)
    for at, number in enumerate(numbers):
        array[0, 0, at] = number
    return LabelMap(array, GRID, scheme)


def folder_of(root, files, **texts):
    """A data set folder: path -> scan or label map, and JSON or text files beside them."""
    for name, thing in files.items():
        write(thing, root / name)
    for name, text in texts.items():
        path = root / name.replace("_json", ".json").replace("_csv", ".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text))
    return root


V2 = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "tibia": 1, "femur": 2},
    "file_ending": ".nii.gz",
    "numTraining": 1,
}


def test_nnunet_raw(tmp_path):
    root = folder_of(
        tmp_path,
        {
            "imagesTr/a_0000.nii.gz": a_scan(7),
            "imagesTr/b_0000.nii.gz": a_scan(8),
            "imagesTs/c_0000.nii.gz": a_scan(9),
            "labelsTr/a.nii.gz": some_labels(1, 2),
        },
        dataset_json=V2,
        splits_final_json=[{"train": ["a"], "val": ["b"]}],
        patients_csv="case,patient\na,anna\nb,anna\n",
    )
    (root / "imagesTr" / "._a_0000.nii.gz").write_bytes(b"mac")
    dataset = open_dataset(root)
    assert [case.id for case in dataset] == ["a", "b", "c"]
    assert [case.patient for case in dataset] == ["anna", "anna", "c"]
    assert [case.id for case in dataset.labelled()] == ["a"]
    assert dataset.scheme.to_dict() == {"tibia": 1, "femur": 2}
    assert dataset.channel_names == ("CT",)
    assert dataset.folds == (Fold(("a",), ("b",)),)
    (channel,), labels = dataset["a"].pair()
    assert channel.array[0, 0, 0] == 7
    assert labels.present() == (1, 2)


def test_cases_travel_to_other_processes(tmp_path):
    root = folder_of(tmp_path, {"imagesTr/a_0000.nii.gz": a_scan(3)}, dataset_json=V2)
    case = pickle.loads(pickle.dumps(open_dataset(root)["a"]))
    assert case.image().array[0, 0, 0] == 3


def test_nnunet_v1_and_decathlon(tmp_path):
    facts = {"name": "Bones", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "tibia"}}
    root = folder_of(
        tmp_path,
        {"imagesTr/a.nii.gz": a_scan(), "labelsTr/a.nii.gz": some_labels(1)},
        dataset_json=facts,
    )
    dataset = open_dataset(root)
    assert dataset.name == "Bones"
    assert dataset.scheme.to_dict() == {"tibia": 1}
    assert dataset["a"].labels().volume_cm3("tibia") == pytest.approx(0.002)


def test_decathlon_keeps_channels_in_one_file(tmp_path):
    import nibabel as nib

    (tmp_path / "imagesTr").mkdir()
    array = np.stack([np.full(GRID.shape, n, np.int16) for n in (5, 6)], axis=-1)
    image = nib.Nifti1Image(array, GRID.affine)
    image.set_sform(GRID.affine, 1)
    image.to_filename(tmp_path / "imagesTr" / "a.nii.gz")
    facts = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "tibia"}}
    root = folder_of(tmp_path, {}, dataset_json=facts)
    channels = open_dataset(root)["a"].channels()
    assert [c.array[0, 0, 0] for c in channels] == [5, 6]
    folder_of(tmp_path, {}, dataset_json={**facts, "modality": {"0": "T1"}})
    with pytest.raises(DatasetError, match="2 channels"):
        open_dataset(root)["a"].channels()


def test_channels_in_files_of_their_own(tmp_path):
    files = {f"imagesTr/a_{n:04d}.nii.gz": a_scan(n) for n in range(2)}
    facts = {**V2, "channel_names": {"0": "T1", "1": "T2"}}
    root = folder_of(tmp_path, files, dataset_json=facts)
    assert [c.array[0, 0, 0] for c in open_dataset(root)["a"].channels()] == [0, 1]
    (root / "imagesTr" / "a_0001.nii.gz").unlink()
    with pytest.raises(DatasetError, match="a lacks its channel a_0001"):
        open_dataset(root)


def test_a_year_is_no_channel(tmp_path):
    files = {"imagesTr/knee_2020.nii.gz": a_scan(), "labelsTr/knee_2020.nii.gz": some_labels(1)}
    dataset = open_dataset(folder_of(tmp_path, files, dataset_json=V2))
    assert dataset["knee_2020"].label is not None


def test_nnunet_may_list_its_files(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    files = {"scans/one.nii.gz": a_scan(7), "maps/one.nii.gz": some_labels(1, 2)}
    write(a_scan(8), elsewhere / "two.nii.gz")
    listed = {
        "a": {"images": ["scans/one.nii.gz"], "label": "maps/one.nii.gz"},
        "b": {"images": [str(elsewhere / "two.nii.gz")]},
    }
    root = folder_of(tmp_path / "data", files, dataset_json={**V2, "dataset": listed})
    dataset = open_dataset(root)
    assert [(case.id, case.label is None) for case in dataset] == [("a", False), ("b", True)]
    assert [case.image().array[0, 0, 0] for case in dataset] == [7, 8]
    assert dataset["a"].pair()[1].present() == (1, 2)
    (elsewhere / "two.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"two\.nii\.gz for case b, which is not there"):
        open_dataset(root)
    folder_of(root, {}, dataset_json={**V2, "dataset": ["scans/one.nii.gz"]})
    with pytest.raises(DatasetError, match='write "dataset"'):
        open_dataset(root)


def test_totalsegmentator_masks_become_one_label_map_when_read(tmp_path):
    scheme = LabelScheme.of({"x": 1})
    other = np.zeros(GRID.shape, np.uint8)
    other[2] = 255
    files = {
        "s1/ct.nii.gz": a_scan(),
        "s1/segmentations/tibia.nii.gz": some_labels(1, scheme=scheme),
        "s1/segmentations/femur_left.nii.gz": LabelMap(other, GRID, scheme),
        "s2/ct.nii.gz": a_scan(),
        "s2/segmentations/hip_left.nii.gz": LabelMap(other, GRID, scheme),
        "s2/segmentations/tibia.nii.gz": LabelMap(other, GRID, scheme),
    }
    root = folder_of(tmp_path, files)
    dataset = open_dataset(root)
    assert dataset.scheme.names == ("femur_left", "hip_left", "tibia")
    assert dataset.channel_names == ("CT",)
    labels = dataset["s1"].pair()[1]
    assert labels.array[0, 0, 0] == 3
    assert (labels.array[2] == 1).all()
    with pytest.raises(OverlapError, match="hip_left and tibia share 20 voxels"):
        dataset["s2"].labels()
    assert open_dataset(root, overlap="priority")["s2"].labels().present() == (2,)
    assert open_dataset(root, overlap="background")["s2"].labels().present() == ()
    assert pickle.loads(pickle.dumps(dataset["s1"])).labels().present() == (1, 3)


@pytest.mark.parametrize(
    "names", [("images", "labels"), ("imagesTr", "labelsTr"), ("scans", "masks")]
)
def test_pairs(tmp_path, names, caplog):
    images, labels = names
    files = {
        f"{images}/a.nrrd": a_scan(),
        f"{images}/b.mha": a_scan(),
        f"{labels}/a.nii.gz": some_labels(1, 2, 5),
        f"{labels}/lost.nii.gz": some_labels(9),
    }
    root = folder_of(tmp_path, files)
    with caplog.at_level(logging.WARNING, "condyle"):
        dataset = open_dataset(root)
    assert "1 label maps have no scan and are ignored: lost" in caplog.text
    assert dataset.scheme.to_dict() == {"tibia": 1, "femur": 2, "label_5": 5}
    assert [(case.id, case.label is None) for case in dataset] == [("a", False), ("b", True)]


def test_pairs_with_a_table_of_labels(tmp_path):
    files = {"images/a.nii.gz": a_scan(), "labels/a.nii.gz": some_labels(2)}
    root = folder_of(tmp_path, files, labels_json={"tibia": 1, "femur": 2})
    assert open_dataset(root).scheme.names == ("tibia", "femur")


def test_pairs_of_segmentations_name_themselves(tmp_path):
    scheme = LabelScheme.of({"tibia": 1, "femur": 2})
    swapped = LabelScheme.of({"femur": 1, "tibia": 2})
    files = {
        "images/a.nii.gz": a_scan(), "labels/a.seg.nrrd": some_labels(1, scheme=scheme),
        "images/b.nii.gz": a_scan(), "labels/b.seg.nrrd": some_labels(1, scheme=scheme),
    }  # fmt: skip
    assert open_dataset(folder_of(tmp_path, files)).scheme.to_dict() == {"tibia": 1, "femur": 2}
    write(some_labels(1, scheme=swapped), tmp_path / "labels/b.seg.nrrd")
    with pytest.raises(DatasetError, match=r"labels\.json"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd"])
def test_voxels_that_nobody_labelled_are_kept(tmp_path, ending):
    scheme = LabelScheme.of({"tibia": 1, "femur": 2, "ignore": 3})
    labels = some_labels(1, 3, 2, scheme=scheme)
    files = {"images/a.nii.gz": a_scan(), f"labels/a{ending}": labels}
    dataset = open_dataset(folder_of(tmp_path / "pairs", files, labels_json=scheme.to_dict()))
    [case] = dataset
    pairs = [(case.id, *case.pair())]
    again = open_dataset(write_nnunet(tmp_path / "n", "n", pairs, dataset.scheme, ("CT",)))
    written = json.loads((tmp_path / "n" / "dataset.json").read_text())["labels"]
    assert written == {"background": 0, "tibia": 1, "femur": 2, "ignore": 3}
    assert again.scheme == dataset.scheme == scheme
    np.testing.assert_array_equal(again["a"].labels().array, labels.array)
    wrong = LabelScheme.of({"tibia": 1, "ignore": 2, "femur": 3})
    with pytest.raises(LabelError, match="'ignore' last"):
        write_nnunet(tmp_path / "m", "m", pairs, wrong, ("CT",))


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({}, "nnU-Net or Decathlon.*TotalSegmentator"),
        ({"dataset_json": V2}, "no .*scans"),
        ({"dataset_json": "not JSON"}, "not a JSON file"),
        ({"dataset_json": []}, "no dict"),
        ({"dataset_json": {"labels": {"tibia": 1, "bone": [1, 2]}}}, "bone is a region"),
        ({"dataset_json": {"labels": {"tibia": "one"}}}, "labels are not a table"),
        ({"dataset_json": {}}, "labels are not a table"),
    ],
)
def test_what_is_no_data_set_says_what_one_is(tmp_path, texts, words):
    with pytest.raises(DatasetError, match=words):
        open_dataset(folder_of(tmp_path, {}, **texts))


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(MissingFile):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "scan.nii.gz").touch()
    with pytest.raises(DatasetError, match=r"scan\.nii\.gz is a file: give the folder"):
        open_dataset(tmp_path / "scan.nii.gz")
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError, match="no scans"):
        open_dataset(tmp_path)


def test_broken_tables_beside_the_scans_are_named(tmp_path):
    root = folder_of(tmp_path, {"imagesTr/a_0000.nii.gz": a_scan()}, dataset_json=V2)
    (root / "splits_final.json").write_text('[{"train": ["a"]}]')
    with pytest.raises(DatasetError, match="splits_final"):
        open_dataset(root)
    (root / "splits_final.json").unlink()
    (root / "patients.csv").write_text("name\nx\n")
    with pytest.raises(DatasetError, match="case and patient"):
        open_dataset(root)


def test_is_dataset(tmp_path):
    assert not is_dataset(tmp_path)
    assert not is_dataset(tmp_path / "nowhere")
    write(a_scan(), tmp_path / "scan.nii.gz")
    assert not is_dataset(tmp_path)
    assert not is_dataset(tmp_path / "scan.nii.gz")
    assert is_dataset(folder_of(tmp_path, {}, dataset_json=V2))


def test_folds_come_back(tmp_path):
    folds = (Fold(("a",), ("b",)), Fold(("b",), ("a",), ("c",)))
    files = {f"images/{n}.nii.gz": a_scan() for n in "abc"}
    root = folder_of(tmp_path, files)
    write_splits(root / "splits_final.json", folds)
    assert open_dataset(root).folds == folds
    assert json.loads((root / "splits_final.json").read_text())[0] == {"train": ["a"], "val": ["b"]}


def test_nnunet_folders_come_back(tmp_path):
    pairs = [("a", (a_scan(1),), some_labels(1, 2)), ("b", (a_scan(2),), None)]
    folds = [Fold(("a",), ("a",))]
    out = write_nnunet(tmp_path / "out", "Knees", pairs, KNEE, ("CT",), folds)
    facts = json.loads((out / "dataset.json").read_text())
    assert facts == {
        "name": "Knees",
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "tibia": 1, "femur": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    names = sorted(str(p.relative_to(out)) for p in out.rglob("*.nii.gz"))
    assert names == ["imagesTr/a_0000.nii.gz", "imagesTs/b_0000.nii.gz", "labelsTr/a.nii.gz"]
    dataset = open_dataset(out)
    assert dataset.folds == tuple(folds)
    assert dataset["a"].pair()[1].present() == (1, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_texts_and_channel_names_are_asked_for_after_the_last_case(tmp_path):
    seen = []

    def pairs():
        for name in "ab":
            seen.append(name)
            yield name, (a_scan(),), some_labels(1)

    out = write_nnunet(
        tmp_path / "out", "X", pairs(), KNEE, lambda: ["".join(seen)],
        beside=lambda: {"notes.txt": " ".join(seen)},
    )  # fmt: skip
    assert (out / "notes.txt").read_text() == "a b"
    assert open_dataset(out).channel_names == ("ab",)


def failing():
    yield "a", (a_scan(),), some_labels(1)
    raise UnreadableFile("the second scan is damaged")


FAR = Grid.regular(GRID.shape, origin=(9, 9, 9))


@pytest.mark.parametrize(
    ("pairs", "scheme", "error"),
    [
        (failing(), KNEE, UnreadableFile),
        ([], KNEE, DatasetError),
        ([("a", (a_scan(),), some_labels(1))], LabelScheme.of({"tibia": 1, "hip": 3}), LabelError),
        ([("a", (a_scan(),), some_labels(3))], KNEE, LabelError),
        ([("a", (Volume(a_scan().array, FAR),), some_labels(1))], KNEE, GridMismatch),
        ([("a", (a_scan(), a_scan()), some_labels(1))], KNEE, DatasetError),
        ([("../a", (a_scan(),), some_labels(1))], KNEE, DatasetError),
        ([("a", (a_scan(),), some_labels(1))] * 2, KNEE, DatasetError),
    ],
)
def test_an_nnunet_folder_is_whole_or_absent(tmp_path, pairs, scheme, error):
    with pytest.raises(error) as caught:
        write_nnunet(tmp_path / "out", "X", pairs, scheme, ("CT",))
    assert isinstance(caught.value, CondyleError)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        write_nnunet(tmp_path / "out", "X", [("a", (a_scan(),), some_labels(1))], KNEE, ("CT",))
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_the_decathlon_hippocampus_opens(shared):
    dataset = open_dataset(shared / "msd_task04_hippocampus")
    assert len(dataset) == len(dataset.labelled()) == 208
    assert dataset.scheme.to_dict() == {"Anterior": 1, "Posterior": 2}
    assert len(dataset.folds) == 4
    for n in range(4):
        dataset.fold(n)
    for case in list(dataset)[:5]:
        assert set(case.pair()[1].present()) <= {1, 2}
