"""Foreign checkpoints: their tensors come through, and nothing that they would do."""

import csv
import functools
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from condyle.app.cli.main import main
from condyle.config.requests import ImportWeightsRequest
from condyle.errors import ConfigError, WeightsError
from condyle.networks import build
from condyle.networks.weights.load import read_state
from condyle.workflows import import_weights as workflow
from condyle.workflows.import_weights import import_weights
from toy_nnunet import model


@functools.cache
def state_of(name):
    return timm.create_model(name).state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Evil:
    """What a pickle can do when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Log(list):
    """A list of its own kind, as trainers keep."""


class Settings(dict):
    """A table of its own kind."""


class Trainer:
    """A class that whoever reads the checkpoint may not have."""

    def __init__(self):
        self.epoch, self.log, self.settings = 3, Log([0.5, 0.25]), Settings(rate=0.1)


@pytest.fixture(autouse=True)
def child_is_measured(monkeypatch):
    """The process that reads pickles is counted by `make coverage`, which it would not see."""
    own = tuple(name for name in os.environ if name.startswith("COVERAGE_"))
    monkeypatch.setattr(workflow, "PASSED_ON", (*workflow.PASSED_ON, *own))


def nnunet(state):
    """What nnU-Net v2 writes: its weights among numpy scalars, settings and an optimizer."""
    return {
        "network_weights": state,
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": []},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.75)]},
        "_best_ema": np.float64(0.7),
        "current_epoch": 1000,
        "init_args": {
            "plans": {"patch_size": np.array([64, 64, 64])},
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_an_nnunet_checkpoint_comes_through(tmp_path, zipped):
    state = {"encoder.stages.0.weight": torch.randn(4, 1, 3, 3, 3), "decoder.bias": torch.randn(2)}
    path, out = tmp_path / "checkpoint_final.pth", tmp_path / "nnunet.safetensors"
    torch.save(nnunet(state), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"is a pickle .* `unsafe_pickle`"):
        read_state(path)
    done = import_weights(ImportWeightsRequest(files=[path], out=out, unsafe_pickle=True))
    assert same(load_file(out), state)
    assert done.summary.startswith("2 tensors, 0.0 million values")
    rows = list(csv.DictReader(io.StringIO(out.with_suffix(".csv").read_text())))
    assert rows[0] == {"tensor": "decoder.bias", "shape": "2", "type": "float32"}


def test_a_pickle_is_refused_without_the_flag_and_the_risk_is_told(tmp_path):
    path, out = tmp_path / "foreign.pth", tmp_path / "new" / "out.safetensors"
    torch.save({"state_dict": {"w": torch.ones(1)}, "trainer": Trainer()}, path)
    with pytest.raises(WeightsError, match="run anything with your user permissions") as caught:
        import_weights(ImportWeightsRequest(files=[path], out=out))
    for words in (str(path), "`unsafe_pickle`", "cannot cut off from network"):
        assert words in str(caught.value)
    assert not out.parent.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_a_pickle_would_run_is_not_run(tmp_path, zipped):
    marker, path = tmp_path / "marker", tmp_path / "evil.pth"
    content = {"state_dict": {"w": torch.arange(3.0)}, "hook": Evil(marker), "trainer": Trainer()}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    import_weights(
        ImportWeightsRequest(files=[path], out=tmp_path / "out.safetensors", unsafe_pickle=True)
    )
    assert not marker.exists()
    assert load_file(tmp_path / "out.safetensors")["w"].tolist() == [0, 1, 2]
    torch.load(path, weights_only=False)  # the proof that it would have run
    assert marker.exists()


def test_a_raw_pickle_bomb_runs_nothing_either(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "raw.pth"
    path.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(WeightsError, match=str(path)):
        import_weights(
            ImportWeightsRequest(files=[path], out=tmp_path / "out.safetensors", unsafe_pickle=True)
        )
    assert not marker.exists()
    assert not (tmp_path / "out.safetensors").exists()


def test_the_tensors_of_a_whole_pickled_module_come_through(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    network.add_module("extra", nn.ModuleDict({"head": nn.Linear(2, 2)}))
    torch.save(network, tmp_path / "module.pt")
    import_weights(
        ImportWeightsRequest(
            files=[tmp_path / "module.pt"], out=tmp_path / "out.safetensors", unsafe_pickle=True
        )
    )
    assert same(load_file(tmp_path / "out.safetensors"), network.state_dict())


def test_a_tar_checkpoint_of_the_first_torch_comes_through(tmp_path):
    """The format of torch 0.1: a tar of pickled tables of tensors, storages and content."""
    path = tmp_path / "old.tar"
    tensor = torch.arange(6.0).view(2, 3)
    storages = pickle.dumps(1, 2) + pickle.dumps((0, "cpu", torch.FloatStorage), 2)
    storages += (6).to_bytes(8, "little") + tensor.numpy().tobytes() + pickle.dumps([], 2)
    tensors = pickle.dumps(1, 2) + pickle.dumps((1, 0, torch.FloatTensor), 2)
    tensors += (2).to_bytes(4, "little") + bytes(4)
    for number in (2, 3, 3, 1, 0):  # sizes, strides, offset
        tensors += number.to_bytes(8, "little")

    class Pickler(pickle._Pickler):
        def persistent_id(self, obj):
            return "1" if isinstance(obj, bytes) else None

    content = io.BytesIO()
    Pickler(content, 2).dump({"state_dict": {"w": b"the tensor"}})
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in (
            ("storages", storages),
            ("tensors", tensors),
            ("pickle", content.getvalue()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    import_weights(
        ImportWeightsRequest(files=[path], out=tmp_path / "out.safetensors", unsafe_pickle=True)
    )
    assert load_file(tmp_path / "out.safetensors")["w"].tolist() == tensor.tolist()


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file:UserWarning")
def test_a_torchscript_program_is_refused(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "script.pt")
    with zipfile.ZipFile(tmp_path / "script.pt", "a") as archive:  # by this file torch knows them
        archive.writestr("script/constants.pkl", b"")
    with pytest.raises(WeightsError, match=r"TorchScript program; save its state_dict\(\) instead"):
        import_weights(
            ImportWeightsRequest(
                files=[tmp_path / "script.pt"], out=tmp_path / "out.safetensors", unsafe_pickle=True
            )
        )


def test_plain_tables_need_no_flag_and_parts_are_joined(tmp_path):
    state = {"module.w": torch.randn(50, 50).bfloat16()}
    torch.save({"state_dict": state}, tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    parts = [tmp_path / "1.bin", tmp_path / "2.bin"]
    parts[0].write_bytes(content[:1000])
    parts[1].write_bytes(content[1000:])
    done = import_weights(ImportWeightsRequest(files=parts, out=tmp_path / "out.safetensors"))
    assert torch.equal(load_file(done.path)["w"], state["module.w"])
    with pytest.raises(WeightsError, match="cut short"):
        import_weights(ImportWeightsRequest(files=parts[:1], out=tmp_path / "out.safetensors"))


def test_imported_weights_load_into_a_network_and_the_table_tells_how(tmp_path):
    state = state_of("resnet18")
    torch.save({"model": state, "args": Trainer()}, tmp_path / "mine.pth")
    done = import_weights(
        ImportWeightsRequest(
            files=[tmp_path / "mine.pth"],
            out=tmp_path / "mine.safetensors",
            network="unet-resnet18",
            unsafe_pickle=True,
        )
    )
    first, second = done.rows[:2]
    assert list(first.values()) == ["conv1.weight"] * 2 + ["adapted", "input channels 3 to 1"]
    assert list(second.values()) == ["bn1.weight"] * 2 + ["kept", ""]
    assert {r["source"] for r in done.rows if r["outcome"] == "unused"} == {"fc.weight", "fc.bias"}
    assert "119 tensors kept, 1 adapted, 0 left" in done.summary
    network, _ = build("unet-resnet18", 3, 2, str(tmp_path / "mine.safetensors"))
    assert torch.equal(network.encoder.model.conv1.weight, state["conv1.weight"])
    with pytest.raises(WeightsError, match=r"mine\.pth"):
        import_weights(
            ImportWeightsRequest(
                files=[tmp_path / "mine.pth"],
                out=tmp_path / "x.safetensors",
                network="unet-resnet50",
                unsafe_pickle=True,
            )
        )


def test_wrong_names_and_missing_files_are_told(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        import_weights(
            ImportWeightsRequest(files=[tmp_path / "a.safetensors"], out=tmp_path / "out.pth")
        )
    with pytest.raises(WeightsError, match=r"none\.pth is not there"):
        import_weights(
            ImportWeightsRequest(files=[tmp_path / "none.pth"], out=tmp_path / "out.safetensors")
        )
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match="cut short"):
        import_weights(
            ImportWeightsRequest(
                files=[tmp_path / "empty.pth"], out=tmp_path / "out.safetensors", unsafe_pickle=True
            )
        )


def verb(*words, capsys):
    """The exit code, stdout and stderr of `condyle import-weights`."""
    with pytest.raises(SystemExit) as ended:
        main(["import-weights", *map(str, words)])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_the_verb_prints_the_table(tmp_path, capsys):
    torch.save(
        {"state_dict": {"w": torch.ones(2, 3)}, "trainer": np.float64(1)}, tmp_path / "a.pth"
    )
    words = [tmp_path / "a.pth", "--out", tmp_path / "a.safetensors"]
    code, _, err = verb(*words, capsys=capsys)
    assert code == 2
    assert "--unsafe-pickle" in err
    code, out, _ = verb(*words, "--unsafe-pickle", capsys=capsys)
    assert code == 0
    assert "2x3" in out
    assert f"written to {tmp_path / 'a.safetensors'} (SHA-256 of what was read: " in out
    with safe_open(str(tmp_path / "a.safetensors"), "pt") as file:
        assert list(file.keys()) == ["w"]


def test_a_checkpoint_without_tensors_is_refused(tmp_path):
    path = tmp_path / "empty.pth"
    torch.save({"epoch": 3, "trainer": Trainer()}, path)
    with pytest.raises(WeightsError, match="it holds no table of tensors"):
        import_weights(
            ImportWeightsRequest(files=[path], out=tmp_path / "out.safetensors", unsafe_pickle=True)
        )
    assert not (tmp_path / "out.safetensors").exists()


def test_the_verb_says_what_a_trained_nnunet_finds(tmp_path, capsys):
    words = [model(tmp_path), "--out", tmp_path / "run"]
    code, _, err = verb(*words, "--unsafe-pickle", capsys=capsys)
    assert code == 2
    assert "--unsafe-pickle cannot be used here" in err
    assert not (tmp_path / "run").exists()
    code, out, _ = verb(*words, capsys=capsys)
    assert code == 0
    said = f"nnunet:3d_fullres, which finds tibia, femur, written into {tmp_path / 'run'}"
    assert said in " ".join(out.split())
