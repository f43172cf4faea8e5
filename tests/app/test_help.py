"""The help: verbs in the order of the work, a text for every flag, examples that can be typed."""

import importlib
import re
import shlex
import sys

import pytest

from condyle.app.cli import terminal
from condyle.app.cli.main import VERBS, app, main
from condyle.config import requests
from condyle.config.request import Request
from condyle.errors import UnknownName
from condyle.networks.factory import NetworkName


@pytest.fixture(autouse=True)
def no_restart(monkeypatch):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)


def said(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_importing_every_module_starts_no_command():
    """As pydoc and other tools do that look through a package."""
    assert importlib.import_module("condyle.__main__").main is main


def test_verbs_are_listed_in_the_order_of_the_work(capsys):
    out = said("--help", capsys)[1]
    listed = re.findall(r"^│ ([a-z-]+) ", out, re.MULTILINE)
    expected = [verb for verbs in VERBS.values() for verb in verbs]
    assert [verb for verb in listed if verb in expected] == expected
    assert "inflate" in listed
    places = [out.index(f"─ {title} ─") for title in VERBS]
    assert places == sorted(places)


@pytest.mark.parametrize("verb", [verb for verbs in VERBS.values() for verb in verbs])
def test_help_of_a_verb_is_whole(verb, capsys):
    code, out, _ = said(f"{verb} --help", capsys)
    assert code == 0
    assert "--empty-" not in out
    assert set(re.findall(r"--no-[a-z-]+", out)) <= {"--no-smooth"}
    words = shlex.split(out.partition("Example: condyle ")[2])
    assert words[0] == verb
    _, _, ignored = app.parse_args(words, exit_on_error=False, print_error=False)
    assert ignored is not None


def test_every_setting_has_a_text():
    kinds = [kind for kind in vars(requests).values()
             if isinstance(kind, type) and issubclass(kind, Request)]  # fmt: skip
    assert len(kinds) > 15
    for kind in kinds:
        for name, field in kind.model_fields.items():
            if name not in kind.NO_FLAG:
                assert len(field.description or "") > 5, (kind, name)


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("segment run", "condyle segment needs SCANS as well: Files, DICOM folders"),
        ("segment", "condyle segment needs RUN as well: The run folder"),
        ("evaluate labels", "condyle evaluate needs LABELS as well: The true label maps"),
        ("segment run scans", "condyle segment needs --out as well: Folder for the label maps"),
        ("train data", "condyle train needs --out as well"),
        ("segment run scans --out", "--out"),
    ],
)
def test_what_is_missing_is_named_in_words(words, missing, capsys):
    code, _, err = said(words, capsys)
    assert code == 2
    assert missing in err
    assert "--scans" not in err


@pytest.mark.parametrize(
    ("name", "likely"),
    [("resnet34", "unet-resnet34, unetplusplus-resnet34, fpn-resnet34"), ("resunet", "unet-"),
     ("xyz", "unet-efficientnet_lite0")],
)  # fmt: skip
def test_three_names_are_offered_for_an_unknown_network(name, likely):
    with pytest.raises(UnknownName) as caught:
        NetworkName.parse(name)
    assert likely in str(caught.value)
    assert len(str(caught.value)) < 150


def test_networks_can_be_narrowed_and_read_by_programs(capsys, monkeypatch):
    code, out, _ = said("networks resnet34", capsys)
    names = [line.split()[0] for line in out.splitlines()]
    assert code == 0
    assert names == ["unet-resnet34", "unetplusplus-resnet34", "fpn-resnet34",
                     "deeplabv3-resnet34", "deeplabv3plus-resnet34", "attention_unet-resnet34",
                     "3d:unet-resnet34",
                     "3d:unetplusplus-resnet34", "3d:fpn-resnet34", "3d:deeplabv3-resnet34",
                     "3d:deeplabv3plus-resnet34", "3d:attention_unet-resnet34"]  # fmt: skip
    every = [line.split()[0] for line in said("networks", capsys)[1].splitlines()]
    assert every[:2] == ["unet-efficientnet_lite0", "3d:unet-plain"]
    assert len(every) == len(set(every)) > 100
    code, _, err = said("networks resnet35", capsys)
    assert code == 2
    assert "resnet34" in err
    monkeypatch.setattr(terminal.RESULTS, "_force_terminal", True)
    monkeypatch.setattr(terminal.RESULTS, "_width", 80)
    out = said("networks efficientnet_lite0", capsys)[1]
    assert "3d:deeplabv3plus-efficientnet_lite0" in out
    assert "start with" in out


def test_the_doctor_rounds_and_names_extras_whole(capsys):
    out = said("doctor", capsys)[1]
    assert "memory_gib" not in out
    assert re.search(r"│ memory +│ \d+ GiB ", out)
    assert "condyle[engines]" in out or "nnunetv2" in out
    assert sys.version.split()[0] in out
