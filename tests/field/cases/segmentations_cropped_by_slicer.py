"""3D Slicer's .seg.nrrd, cut to what is drawn: the same lattice as the scan, a smaller extent.

Met by a first-time user of Condyle. Kind: E.
"""

import gzip

import nibabel
import numpy as np

FROM, SIDES = (4, 3, 2), (9, 8, 6)
ORIGIN, SPACING = np.array((20.0, -30.0, 55.0)), np.array((0.7, 0.7, 1.5))


def truth():
    """(i, j, k) in LPS."""
    array = np.zeros((18, 16, 12), np.uint8)
    box = tuple(slice(a, a + n) for a, n in zip(FROM, SIDES, strict=True))
    array[box] = np.indices(SIDES).sum(0) % 3
    return array


def seg(path, low, high):
    """A segmentation that holds the voxels from `low` up to `high` of the scan, or beyond it."""
    pad = 6
    cut = np.pad(truth(), pad)[
        tuple(slice(a + pad, b + pad) for a, b in zip(low, high, strict=True))
    ]
    origin = ORIGIN + SPACING * low
    head = [
        "NRRD0004", "type: unsigned char", "dimension: 3", "space: left-posterior-superior",
        "sizes: {} {} {}".format(*cut.shape),
        "space directions: (0.7,0,0) (0,0.7,0) (0,0,1.5)",
        "kinds: domain domain domain", "encoding: gzip",
        "space origin: ({},{},{})".format(*origin),
    ]  # fmt: skip
    for n, name in enumerate(("Tibia rechts", "Femur rechts")):
        head += [f"Segment{n}_Name:={name}", f"Segment{n}_LabelValue:={n + 1}"]
        head.append(f"Segment{n}_Layer:=0")
    body = gzip.compress(cut.tobytes(order="F"))
    path.write_bytes(("\n".join(head) + "\n\n").encode() + body)


def make(folder):
    for part in ("scans", "cut", "padded", "off"):
        (folder / part).mkdir()
    affine = np.diag([-0.7, -0.7, 1.5, 1])
    affine[:3, 3] = ORIGIN * (-1, -1, 1)
    scan = (300.0 * truth() - 200).astype(np.int16)
    nibabel.Nifti1Image(scan, affine).to_filename(folder / "scans" / "knee.nii.gz")
    high = np.add(FROM, SIDES)
    seg(folder / "cut" / "knee.seg.nrrd", FROM, high)
    seg(folder / "padded" / "knee.seg.nrrd", (-2, 0, -3), (20, 19, 12))
    seg(folder / "off" / "knee.seg.nrrd", np.add(FROM, (0.5, 0, 0)).astype(int), high)
    text = (folder / "cut" / "knee.seg.nrrd").read_bytes()
    moved = text.replace(b"space origin: (22.8,", b"space origin: (23.1,")
    assert moved != text
    (folder / "off" / "knee.seg.nrrd").write_bytes(moved)


def right(field):
    for part in ("cut", "padded"):
        out = field.out / part
        said = field.condyle(
            "import", field.given / "scans", "--masks", field.given / part, "--out", out
        )
        assert said.code == 0, said.text
        found = np.asarray(nibabel.load(out / "labelsTr" / "knee.nii.gz").dataobj)
        assert np.array_equal(found, truth()), part
    said = field.condyle(
        "import", field.given / "scans", "--masks", field.given / "off", "--out", field.out / "off"
    )
    assert said.code == 2
    assert "0.43 of a voxel beside the scan's" in said.text
    assert "3D Slicer" in said.text
