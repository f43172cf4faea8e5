"""A data set imported into the folder of its scans or masks: refused, and nothing is lost.

Kin to CompVis/depth-fm#12, cdcseacave/openMVS#22. Kind: A. A folder of label maps that Condyle
wrote was taken for an import that did not come to its end.
"""

import nibabel
import numpy as np


def make(folder):
    array = np.zeros((10, 9, 8), np.uint8)
    array[3:6, 2:6, 2:6] = 1
    for case in ("one", "two"):
        scan = np.random.default_rng(0).integers(-900, 900, array.shape).astype(np.int16)
        for place, held in (("scans", scan), ("labels", array)):
            (folder / place).mkdir(exist_ok=True)
            path = folder / place / f"{case}.nii.gz"
            nibabel.Nifti1Image(held, np.eye(4)).to_filename(path)
    (folder / "labels" / ".condyle").mkdir()
    (folder / "labels" / ".condyle" / "one.json").write_text("{}")
    (folder / "link").symlink_to(folder / "labels", target_is_directory=True)


def right(field):
    before = {path: path.read_bytes() for path in field.given.rglob("*") if path.is_file()}
    asked = ["import", field.given / "scans", "--masks", field.given / "labels", "--out"]
    for out in ("scans", "labels", "link", "scans/../labels", "labels/one.nii.gz"):
        said = field.condyle(*asked, field.given / out)
        assert (said.code, "not empty" in said.text) == (2, True), said.text
        after = {path: path.read_bytes() for path in field.given.rglob("*") if path.is_file()}
        assert after == before, out
    assert field.condyle(*asked, field.given / "new").code == 0
    assert {path: path.read_bytes() for path in before} == before
