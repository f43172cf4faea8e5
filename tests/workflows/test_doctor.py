"""What `condyle doctor` says of the machine."""

import sys

from condyle.workflows.doctor import doctor_rows


def runtimes():
    return next(row["here"] for row in doctor_rows() if row["what"] == "runtimes")


def test_it_names_the_runtimes_and_what_is_missing(monkeypatch):
    assert runtimes().startswith("torch, OpenVINO 20")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "pip install openvino" in runtimes()
