"""What a run says of the machine that it was made on."""

import json

import torch

from condyle.networks.precision import PRECISION
from condyle.runs.record import write_environment


def test_a_training_that_goes_on_in_another_precision_says_so(tmp_path, monkeypatch, caplog):
    path = tmp_path / "environment.json"
    for asked in ("bf16", "bf16"):
        monkeypatch.setenv(PRECISION, asked)
        found = json.loads(write_environment(path, torch.device("cpu")).read_text())
        assert (found["device"], found["precision"]) == ("cpu", "bf16")
    assert not caplog.text
    monkeypatch.setenv(PRECISION, "fp32")
    write_environment(path, torch.device("cpu"))
    assert "began in bf16 and goes on in fp32" in caplog.text
    assert "CONDYLE_PRECISION=bf16" in caplog.text
