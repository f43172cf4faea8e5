"""What an interrupted training goes on from."""

import json
import os
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from condyle.errors import UnreadableFile
from condyle.train.checkpoint import LAST, load_last, save_last


def parts():
    network = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {"network": network}, optimizer


@pytest.fixture
def folder(tmp_path):
    """A folder with two checkpoints of a training: after epoch 0, and after epoch 1."""
    networks, optimizer = parts()
    for epoch in (0, 1):
        with torch.no_grad():
            networks["network"].weight.fill_(epoch)
        save_last(tmp_path, networks, optimizer, {"epoch": epoch})
    return tmp_path


def loaded(folder):
    networks, optimizer = parts()
    progress = load_last(folder, networks, optimizer)
    return progress["epoch"], float(networks["network"].weight[0, 0].detach())


def test_the_last_checkpoint_comes_back(folder):
    assert loaded(folder) == (1, 1.0)


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # the last tensor's value: no reader notices by itself
    path.write_bytes(content)


def renamed(path):
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        note = file.metadata()
    save_file(tensors, str(path), metadata={**note, "progress": json.dumps({"epok": 1})})


DAMAGE = {
    "a flipped bit": flipped,
    "another progress": renamed,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "emptied": lambda path: path.write_bytes(b""),
    "something else": lambda path: path.write_text("not tensors"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_is_taken(folder, caplog, how):
    DAMAGE[how](folder / LAST)
    assert loaded(folder) == (0, 0.0)
    assert "going on from the one before it" in caplog.text


def test_two_damaged_ones_are_an_error(folder):
    for path in folder.iterdir():
        flipped(path)
    with pytest.raises(UnreadableFile, match=r"cannot be read .*train again without `resume`"):
        loaded(folder)


def test_colleagues_can_read_it_if_the_umask_lets_them(folder):
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((folder / LAST).stat().st_mode) == 0o666 & ~mask
