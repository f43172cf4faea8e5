"""`condyle features` on scans: tables that repeat, cohorts, and nothing half written."""

import csv
import json
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

import condyle
from condyle.config.requests import FeaturesRequest
from condyle.core import KNEE, LabelMap, LabelScheme
from condyle.errors import ConfigError, LabelError, WeightsError
from condyle.features.maps import LAYERS, FeatureMaps
from condyle.io.datasets.layouts import write_nnunet
from condyle.jobs.job import Job
from condyle.phantom import knee
from condyle.workflows.features import Compared, Comparison, compare, features, features_of_scans

COARSE = Comparison(spacing=4, permutations=0)
HERE = {"encoder": "efficientnet_lite0", "device": "cpu", "runtime": "torch"}


@pytest.fixture(scope="module")
def scans():
    """Two phantom knees, the labels of tibia and femur alone."""
    found = []
    for seed in (3, 4):
        volume, labels = knee(seed)
        bones = np.where(labels.array <= 2, labels.array, 0).astype(np.uint8)
        found.append((volume, LabelMap(bones, labels.grid, KNEE)))
    return found


@pytest.fixture(scope="module")
def maps():
    return FeatureMaps.of("efficientnet_lite0", device="cpu", runtime="torch")


@pytest.fixture
def folder(tmp_path, scans):
    """Folders of scans and of label maps with their names."""
    for number, (volume, labels) in enumerate(scans):
        condyle.write(volume, tmp_path / "scans" / f"knee_{number}.nii.gz")
        condyle.write(labels, tmp_path / "labels" / f"knee_{number}.nii.gz")
    (tmp_path / "labels" / "labels.json").write_text(json.dumps(KNEE.to_dict()))
    return tmp_path


def one(folder, how=COARSE, out="similarity.csv", **more):
    scan, labels = folder / "scans" / "knee_0.nii.gz", folder / "labels" / "knee_0.nii.gz"
    return compared(scan, labels, folder / "out" / out, how, **more)


def compared(scan, labels, out, how, **more):
    settings = dict(vars(how))
    request = FeaturesRequest(scan=scan, labelmap=labels, out=out, **settings, **HERE | more)
    found = features_of_scans(request)
    return found.done, found.failed


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_one_scan_gives_the_studys_table_and_all_that_belongs_to_it(folder):
    one(folder, Comparison(spacing=4, permutations=3))
    out = folder / "out"
    lines = (out / "similarity.csv").read_text().splitlines()
    assert lines[0] == "Pair,Fifth-Last,Third-Last,Last"
    assert [line.split(",")[0] for line in lines[1:]] == [
        "tibia-femur", "tibia-background", "femur-background",
    ]  # fmt: skip
    assert all(-1 < float(x) < 1 for line in lines[1:] for x in line.split(",")[1:])
    card = json.loads((out / "similarity.json").read_text())
    assert card["layers"]["Last"] == {"name": "blocks.6.0.conv_pwl", "channels": 320}
    assert card["weights"]["sha256"].startswith("57934424")
    assert card["images"]["knee_0"]["intensities"] == {"rule": "CT", "air": -1000, "one": 2000}
    assert str(folder) not in json.dumps(card)
    with np.load(out / "similarity.npz") as found:
        assert list(found["region"]) == ["tibia", "femur", "background"]
        assert found["Fifth-Last"].shape == (3, 1152)
        a, b = found["Last"][:2]
    assert float(lines[1].split(",")[3]) == pytest.approx(
        a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6
    )
    random = table(out / "similarity_random.csv")
    assert len(random) == 9
    assert all(float(row["Random 5 %"]) <= float(row["Random median"]) for row in random)
    with Image.open(out / "similarity.png") as picture:
        assert picture.width > 600


def test_the_table_is_the_same_on_repeat_and_in_any_order_of_regions(folder):
    first = Comparison(("femur", "background", "tibia"), spacing=4, permutations=2, seed=5)
    second = Comparison(("tibia", "femur", "background"), spacing=4, permutations=2, seed=5)
    one(folder, first, "a.csv")
    one(folder, second, "b.csv")
    for ending in (".csv", "_random.csv", ".png"):
        a, b = ((folder / "out" / f"{name}{ending}").read_bytes() for name in "ab")
        assert a == b


def test_a_cohort_of_folders_and_the_same_as_a_data_set_give_one_table(folder, scans, caplog):
    condyle.write(scans[0][1], folder / "labels" / "stranger.nii.gz")
    done, failed = compared(folder / "scans", folder / "labels", folder / "out" / "all.csv", COARSE)
    assert list(done) == ["knee_0", "knee_1"]
    assert not failed
    assert "stranger" in caplog.text
    rows = table(folder / "out" / "all.csv")
    assert list(rows[0]) == ["Image", "Pair", "Fifth-Last", "Third-Last", "Last"]
    assert [row["Image"] for row in rows] == ["knee_0"] * 3 + ["knee_1"] * 3
    with np.load(folder / "out" / "all.npz") as found:
        assert len(found["image"]) == 6
    pairs = ((f"knee_{n}", (v,), labels) for n, (v, labels) in enumerate(scans))
    root = write_nnunet(folder / "data", "knees", pairs, KNEE, ("CT",))
    compared(root, None, folder / "out" / "set.csv", COARSE)
    assert (folder / "out" / "set.csv").read_text() == (folder / "out" / "all.csv").read_text()


def test_one_scan_of_a_cohort_that_fails_does_not_stop_the_others(folder, scans):
    labels = scans[1][1]
    alone = labels.with_array(np.where(labels.array == 2, 0, labels.array))
    condyle.write(alone, folder / "labels" / "knee_1.nii.gz")
    done, failed = compared(folder / "scans", folder / "labels", folder / "out" / "all.csv", COARSE)
    assert list(done) == ["knee_0"]
    assert failed["knee_1"].startswith("there is no femur in knee_1")
    assert len(table(folder / "out" / "all.csv")) == 3


def test_in_python_and_with_other_modes_pools_and_inflations(scans, maps):
    volume, labels = scans[0]
    plain = compare(maps, COARSE.scene(volume, labels), COARSE)
    found = [plain]
    for mode, pool in (("box", "volume"), ("volume", "region")):
        how = Comparison((), mode, pool, spacing=4, permutations=0)
        found.append(compare(maps, how.scene(volume, labels), how))
    found.append(
        features(
            volume, labels, ["tibia", "femur"], inflation="acs", spacing=4, permutations=0, **HERE
        )
    )
    cosines = [one.similarities["tibia", "femur"]["Third-Last"] for one in found]
    assert len({round(c, 4) for c in cosines}) == 4
    assert plain.rows()[0]["Pair"] == "tibia-femur"


def test_a_cosine_stands_among_those_of_random_regions_which_the_seed_counts(scans, maps):
    volume, labels = scans[0]
    how = Comparison(("tibia", "femur"), spacing=4, permutations=5)
    scene = how.scene(volume, labels)
    found = compare(maps, scene, how)
    for row in found.standings["tibia", "femur"].values():
        assert row["low"] <= row["median"] <= row["high"]
        assert 0.3 <= row["p"] <= 1
    again = compare(maps, scene, how)
    assert found.standings == again.standings


def test_what_cannot_be_compared_writes_nothing(folder):
    (folder / "labels" / "labels.json").write_text('{"tibia": 1, "femur": 2, "sacrum": 3}')
    with pytest.raises(LabelError, match="no sacrum in"):
        one(folder)
    with pytest.raises(ConfigError, match=r"must end in \.csv"):
        one(folder, out="similarity.txt")
    with pytest.raises(ConfigError, match="is not a data set"):
        compared(folder / "scans", None, folder / "out" / "a.csv", COARSE)
    with pytest.raises(ConfigError, match="holds 2 scans"):
        compared(
            folder / "scans", folder / "labels" / "knee_0.nii.gz", folder / "a.csv", COARSE, **HERE
        )
    (folder / "labels" / "knee_0.nii.gz").rename(folder / "labels" / "x.nii.gz")
    (folder / "labels" / "knee_1.nii.gz").rename(folder / "labels" / "y.nii.gz")
    with pytest.raises(ConfigError, match="no scan in"):
        compared(folder / "scans", folder / "labels", folder / "a.csv", COARSE)
    with pytest.raises(ConfigError, match="must not be negative"):
        Comparison(permutations=-1)
    assert not (folder / "out").exists()
    assert not (folder / "a.csv").exists()


def test_a_real_ct_with_femora_gives_the_same_table_on_repeat(shared, tmp_path):
    home = shared / "totalsegmentator_reference"
    volume = condyle.read(home / "example_ct.nii.gz")
    labels = condyle.read_labels(home / "example_seg_fast_force_split.nii.gz")
    scheme = LabelScheme.of({"femur_left": 75, "femur_right": 76, "hip_left": 77, "hip_right": 78})
    kept = np.where(np.isin(labels.array, scheme.ids), labels.array, 0)
    bones = LabelMap(kept, labels.grid, scheme)
    found = [features(volume, bones, spacing=6, permutations=0, **HERE) for _ in range(2)]
    assert found[0].rows() == found[1].rows()
    cosines = {pair: row["Last"] for pair, row in found[0].similarities.items()}
    assert found[0].facts["intensities"]["rule"] == "CT"
    # a femur is more like the other femur, and a hip like the other hip, than like all the rest
    for name in ("femur", "hip"):
        sides = f"{name}_left", f"{name}_right"
        assert cosines[sides] > max(cosines[side, "background"] for side in sides)


def test_without_the_studys_weights_a_shipped_encoder_compares_and_it_is_said(
    folder, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    monkeypatch.setattr("condyle.networks.weights.locate.TORCHVISION", "http://127.0.0.1:9")
    job = Job()
    scan, labels = folder / "scans" / "knee_0.nii.gz", folder / "labels" / "knee_0.nii.gz"
    given = {"scan": scan, "labelmap": labels, "spacing": 4, "permutations": 0}
    given |= {"device": "cpu", "runtime": "torch"}
    features_of_scans(FeaturesRequest(out=folder / "out" / "a.csv", **given), job)
    card = json.loads((folder / "out" / "a.json").read_text())
    assert card["encoder"] == "efficientnet_lite0"
    [said] = [warned.sentence for warned in job.warnings]
    assert "densenet121 cannot be had on this machine" in said
    page = (folder / "out" / "a.html").read_text()
    assert "knee_0: regions compared" in page
    assert "encoder efficientnet_lite0" in page
    with pytest.raises(WeightsError):
        features_of_scans(
            FeaturesRequest(out=folder / "out" / "b.csv", encoder="densenet121", **given)
        )


def test_the_terminal_s_table_is_short_and_has_the_most_and_the_least_alike():
    names = [f"rib_{n}" for n in range(10)]
    pairs = {(a, b): n / 100 for n, (a, b) in enumerate(combinations(names, 2))}
    found = Compared({p: dict.fromkeys(LAYERS, c) for p, c in pairs.items()}, {}, {})
    rows = found.short_rows(10)
    assert len(rows) == 10
    assert rows[0]["Last"] == "0.440000"
    assert rows[-1]["Last"] == "0.000000"
    assert len(found.short_rows(45)) == 45
