"""Segments called by names with slashes, dots, umlauts; two that would be one file; 'all'.

Kin to lassoan/SlicerMONAIAuto3DSeg#95. Kind: B (it was right, and stays so).
"""

import gzip

import numpy as np

NAMES = {
    "slash": ["Femur/links", "../../aussen", "Kniescheibe: Rückseite", "L4 (4. LWK)"],
    "case": ["Tibia", "tibia"],
    "all": ["all", "tibia"],
    "same": ["tibia right", "tibia/right"],
}


def make(folder):
    for file, names in NAMES.items():
        array = np.zeros((9 * len(names) + 3, 14, 15), np.uint8)
        head = [
            "NRRD0004", "type: uint8", "dimension: 3", "space: left-posterior-superior",
            "sizes: {} {} {}".format(*array.shape), "kinds: domain domain domain",
            "space directions: (1,0,0) (0,1,0) (0,0,1)", "space origin: (0,0,0)", "encoding: gzip",
        ]  # fmt: skip
        for n, name in enumerate(names):
            array[9 * n + 2 : 9 * n + 9, 3:11, 4:11] = n + 1
            head += [f"Segment{n}_Name:={name}", f"Segment{n}_LabelValue:={n + 1}"]
            head.append(f"Segment{n}_Layer:=0")
        body = gzip.compress(array.tobytes(order="F"), mtime=0)
        (folder / f"{file}.seg.nrrd").write_bytes("\n".join(head).encode() + b"\n\n" + body)


def right(field):
    said = field.condyle("mesh", field.given / "slash.seg.nrrd", "--out", field.out / "slash")
    assert said.code == 0, said.text
    parts = {file.name for file in (field.out / "slash").rglob("*.ply")}
    assert len(parts) == 5
    assert parts == {file.name for file in (field.out / "slash").glob("*.ply")}
    assert not list(field.out.parent.glob("*aussen*"))
    for file in ("case", "all", "same"):
        said = field.condyle("mesh", field.given / f"{file}.seg.nrrd", "--out", field.out / file)
        assert said.code == 2, (file, said.text)
