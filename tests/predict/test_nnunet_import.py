"""A trained nnU-Net, made here of a small network with random weights, as a segmenter of ours."""

import shutil

import numpy as np
import pytest
import torch

import condyle
from condyle.config.requests import ExportRequest
from condyle.core import Grid, Volume
from condyle.errors import ConfigError, UnknownName, WeightsError
from condyle.networks.nnunet import NnunetNetwork, architecture_of
from condyle.predict.nnunet_import import import_nnunet
from condyle.quality.embedding import embed
from condyle.workflows.export import export
from toy_nnunet import architecture, model, original

pytestmark = pytest.mark.precision


def scan(shape=(30, 24, 20), spacing=(1.0, 1.2, 2.0)):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Volume(values, Grid(shape, np.diag([*spacing, 1.0])), "MR")


@pytest.mark.parametrize("spatial", [2, 3])
def test_the_network_is_the_one_that_was_trained(tmp_path, spatial):
    imported = import_nnunet(model(tmp_path, spatial), tmp_path / "run")
    torch.manual_seed(0)
    theirs, x = original(spatial), torch.randn(1, 1, *[16] * spatial)
    with torch.no_grad():
        assert torch.equal(imported.network.eval()(x), theirs(x))


@pytest.mark.parametrize("spatial", [2, 3])
def test_it_is_kept_whole_and_answers_the_same(tmp_path, spatial):
    made = import_nnunet(model(tmp_path, spatial), tmp_path / "run")
    kept = condyle.load(tmp_path / "run")
    assert kept.scheme.names == ("tibia", "femur")
    first, again = (each.segment(scan(), "cpu", runtime="torch") for each in (made, kept))
    assert np.array_equal(first.array, again.array)
    assert len(first.present()) == 2
    pytest.importorskip("openvino")
    for runtime in ("openvino", "auto"):
        found = kept.segment(scan(), "cpu", runtime=runtime)
        assert (found.array == first.array).mean() >= 0.999


@pytest.mark.parametrize("mirroring", ["none", "all"])
def test_a_model_that_learnt_in_ras_does_not_see_how_a_scan_is_stored(tmp_path, mirroring):
    found = import_nnunet(model(tmp_path), tmp_path / "run")
    own = found.segment(scan(), "cpu", mirroring=mirroring, runtime="torch")
    turned = found.segment(scan().reoriented("PIL"), "cpu", mirroring=mirroring, runtime="torch")
    assert turned.grid.orientation == "PIL"
    assert (turned.reoriented("RAS").array == own.array).mean() > 0.9999


def test_mirror_images_change_the_answer_a_little_and_never_the_grid(tmp_path):
    found = import_nnunet(model(tmp_path), tmp_path / "run")
    plain = found.segment(scan(), "cpu", runtime="torch")
    mirrored = found.segment(scan(), "cpu", mirroring="all", runtime="torch")
    assert mirrored.grid.same_as(plain.grid)
    assert 0.2 < (plain.array == mirrored.array).mean() < 1


def test_an_empty_border_is_left_out(tmp_path):
    found = import_nnunet(model(tmp_path), tmp_path / "run")
    whole = np.zeros((40, 24, 20), np.float32)
    whole[5:35] = scan().array
    own = found.segment(scan(), "cpu", runtime="torch").array
    wide = Volume(whole, Grid((40, 24, 20), scan().grid.affine), "MR")
    answer = found.segment(wide, "cpu", runtime="torch").array
    assert np.array_equal(answer[5:35], own)
    assert not answer[:5].any()


def test_planes_are_nnu_net_s_own(tmp_path):
    found = import_nnunet(model(tmp_path, 2), tmp_path / "run")
    with pytest.raises(ConfigError, match="whose planes are fixed"):
        found.segment(scan(), "cpu", planes="all")


def test_a_zip_is_taken_too(tmp_path):
    model(tmp_path / "Dataset001_toy")
    shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path, "Dataset001_toy")
    assert import_nnunet(tmp_path / "model.zip", tmp_path / "run").name == "nnunet:3d_fullres"


def test_of_several_models_one_must_be_named(tmp_path):
    for spatial in (2, 3):
        model(tmp_path / "both", spatial)
    with pytest.raises(WeightsError, match="several models, give one by `model`"):
        import_nnunet(tmp_path / "both", tmp_path / "run")
    chosen = "nnUNetTrainer__nnUNetPlans__2d"
    assert import_nnunet(tmp_path / "both", tmp_path / "run", model=chosen).name == "nnunet:2d"
    with pytest.raises(UnknownName, match="unknown fold '4'"):
        import_nnunet(tmp_path / "both", tmp_path / "other", model=chosen, fold="4")


def test_models_of_the_same_name_are_told_apart_by_their_data_sets(tmp_path):
    results = tmp_path / "results"
    for number, bone in enumerate(("tibia", "fibula"), 1):
        model(results / f"Dataset00{number}_toy", labels={"background": 0, bone: 1, "femur": 2})
    same = "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for asked in ("", same):
        with pytest.raises(WeightsError, match=f"Dataset001_toy/{same}, Dataset002_toy/{same}"):
            import_nnunet(results, tmp_path / "run", model=asked)
    found = import_nnunet(results, tmp_path / "run", model=f"Dataset001_toy/{same}")
    assert found.scheme.names == ("tibia", "femur")
    with pytest.raises(UnknownName, match="unknown model '2d'"):
        import_nnunet(results, tmp_path / "other", model="2d")


@pytest.mark.parametrize(
    ("changes", "labels", "reason"),
    [
        ({"previous_stage": "3d_lowres"}, None, "a cascade after 3d_lowres"),
        ({"resampling_fn_data": "resample_torch_simple"}, None, "resample_torch_simple"),
        ({"preprocessor_name": "Mine"}, None, "the preprocessor Mine"),
        ({}, {"background": 0, "leg": [1, 2], "foot": 2}, "overlapping regions"),
        ({"architecture": {**architecture(3), "network_class_name": "a.Primus"}}, None, "Primus"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, changes, labels, reason):
    with pytest.raises(WeightsError, match=reason):
        import_nnunet(model(tmp_path, labels=labels, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_and_a_folder_of_something_else_are_named(tmp_path):
    home = model(tmp_path / "model")
    file = home / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="not a checkpoint of nnU-Net that can be read"):
        import_nnunet(home, tmp_path / "run")
    with pytest.raises(WeightsError, match="holds no model of nnU-Net"):
        import_nnunet(file.parent, tmp_path / "run")


def test_older_plans_describe_the_same_network():
    old = {
        "UNet_class_name": "PlainConvUNet", "n_conv_per_stage_encoder": [2, 2],
        "n_conv_per_stage_decoder": [2], "patch_size": [16] * 3, "UNet_base_num_features": 8,
        "unet_max_num_features": 320, "conv_kernel_sizes": [[3] * 3] * 2,
        "pool_op_kernel_sizes": [[1] * 3, [2] * 3],
    }  # fmt: skip
    one = NnunetNetwork(architecture_of(old), 1, 3).state_dict()
    other = NnunetNetwork(architecture(3), 1, 3).state_dict()
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in other.items()}


def test_what_needs_a_recipe_of_ours_says_so(tmp_path):
    import_nnunet(model(tmp_path), tmp_path / "run")
    with pytest.raises(ConfigError, match="a network of nnU-Net's"):
        export(ExportRequest(run=tmp_path / "run", to="onnx"))
    with pytest.raises(ConfigError, match="a network of nnU-Net's"):
        embed(condyle.load(tmp_path / "run"), (scan(),))
