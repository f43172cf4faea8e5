"""A console in an old code page: the table is shown with what letters it has, exit code 0.

Kin to radis/radis#162, pachterlab/seqspec#13, microsoft/conductor#401. Kind: K.
"""

import io
import sys

import nibabel
import numpy as np
import pytest

from condyle.app.cli.main import main


def make(folder):
    array = np.zeros((12, 12, 8), np.uint8)
    array[3:7, 3:9, 2:6] = 1
    for part in ("truth", "pred"):
        (folder / part).mkdir()
        for name in ("knee1", "knee2"):
            image = nibabel.Nifti1Image(array, np.eye(4))
            image.to_filename(folder / part / f"{name}.nii.gz")


def right(field):
    for encoding in ("ascii", "cp1252", "latin-1", "cp437", "utf-8"):
        console = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
        words = [field.given / "pred", field.given / "truth", "--out", field.out / encoding]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", console)
            with pytest.raises(SystemExit) as ended:
                main(["evaluate", *map(str, words)])
        assert ended.value.code == 0, encoding
        shown = console.buffer.getvalue().decode(encoding)
        assert "label_1" in shown, encoding
        assert "1.000" in shown, encoding
        assert ("ΔV" in shown) == (encoding == "utf-8"), encoding
