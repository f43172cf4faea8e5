"""What `condyle doctor` says of the machine."""

import sys

from condyle.networks.precision import PRECISION
from condyle.workflows.doctor import doctor_rows


def runtimes():
    return next(row["here"] for row in doctor_rows() if row["what"] == "runtimes")


def test_it_names_the_runtimes_and_what_is_missing(monkeypatch):
    assert runtimes().startswith("torch, OpenVINO 20")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "pip install openvino" in runtimes()


def test_it_says_which_precision_was_asked_for(monkeypatch):
    monkeypatch.setenv(PRECISION, "bf16")
    here = {row["what"]: row["here"] for row in doctor_rows()}
    assert here["fast precision"] == "bfloat16 (set by CONDYLE_PRECISION)"
    assert here["runtimes"].endswith("in bfloat16")
