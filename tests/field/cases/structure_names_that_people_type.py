"""Segments called Femur/left, ../../outside, L5 (5. LWK): files get safe names, in the folder.

Kin to lassoan/SlicerMONAIAuto3DSeg#95. Kind: names.
"""

import gzip

import numpy as np

SLASHES = ["Femur/left", "../../outside", "Wadenbein: Köpfchen", "L5 (5. LWK)"]
SAME = {"same": ["femur left", "femur/left"], "case": ["Femur", "femur"], "all": ["all", "femur"]}


def segmentation(path, names):
    """A .seg.nrrd with a cube of 8 x 6 x 6 voxels for each name."""
    array = np.zeros((10 * len(names) + 4, 12, 12), np.uint8)
    for number in range(len(names)):
        array[10 * number + 2 : 10 * number + 10, 3:9, 3:9] = number + 1
    lines = [
        "NRRD0004", "type: uint8", "dimension: 3", "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, array.shape))}", "space directions: (1,0,0) (0,1,0) (0,0,1)",
        "kinds: domain domain domain", "encoding: gzip", "space origin: (0,0,0)",
    ]  # fmt: skip
    for number, name in enumerate(names):
        keys = {"ID": f"s{number}", "Name": name, "LabelValue": number + 1, "Layer": 0}
        lines += [f"Segment{number}_{key}:={value}" for key, value in keys.items()]
    head = "\n".join([*lines, "", ""]).encode()
    path.write_bytes(head + gzip.compress(array.tobytes(order="F"), mtime=0))


def make(folder):
    segmentation(folder / "slashes.seg.nrrd", SLASHES)
    for stem, names in SAME.items():
        segmentation(folder / f"{stem}.seg.nrrd", names)


def right(field):
    before = sorted(field.given.parent.iterdir())
    said = field.condyle("mesh", field.given / "slashes.seg.nrrd", "--out", field.out / "slashes")
    assert said.code == 0, said.text
    written = sorted(path.name for path in (field.out / "slashes").glob("*.ply"))
    assert written == [
        "slashes_.._.._outside.ply", "slashes_Femur_left.ply", "slashes_L5_5._LWK_.ply",
        "slashes_Wadenbein_Köpfchen.ply", "slashes_all.ply",
    ]  # fmt: skip
    table = (field.out / "slashes" / "surfaces.csv").read_text(encoding="utf-8")
    assert all(f"slashes,{name}," in table for name in SLASHES), table
    for stem in SAME:
        said = field.condyle("mesh", field.given / f"{stem}.seg.nrrd", "--out", field.out / stem)
        assert said.code == 2, said.text
        assert "rename them" in said.text
        assert not list((field.out / stem).glob("*.ply"))
    assert sorted(field.given.parent.iterdir()) == [*before, field.out]
