"""Surfaces of two bones in a scan of 512 x 512 x 216 voxels, beside scikit-image and VTK.

The peer takes scikit-image's marching cubes of each bone and VTK's quadric decimation to as many
triangles as Condyle's surface has; it neither smooths, nor measures how far the surface moved, nor
keeps it closed. Both get the labels in memory's order of a file, take turns in processes of their
own, and are timed by the processor's time. A third line gives the peer the box of each bone only.

VTK is not a dependency of Condyle: `--vtk PYTHON` names a Python that has vtk, scikit-image and
numpy. `--labels FILE` takes another label map than the phantom.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from condyle.config.requests import MeshRequest

SHAPE, SPACING = (512, 512, 216), (0.87, 0.87, 2.0)
ROUNDS = 3
GOAL = 5.0
"""Times as fast as the peer, at least."""
FILE_GOAL = 5.0
"""Seconds of processor time from a file to files, at most."""


def two_bones(seed=0):
    """Label numbers (i, j, k), uint8, i fastest: a femur and a tibia with rough surfaces."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    i, j = np.mgrid[:140, :140] - 70.0
    rough = ndimage.zoom(rng.normal(size=(18, 18, 55)), (140 / 18, 140 / 18, 216 / 55), order=3)
    array = np.zeros(SHAPE, np.uint8, order="F")
    for number, joint, way in ((1, 106, 1), (2, 104, -1)):
        for k in range(1, 105):
            slice_ = joint + way * k
            wide = 15 + 27 / (1 + np.exp((k - 28) / 6)) * np.sqrt(min(1.0, k / 12))
            far = np.hypot(i, j * 1.15) + 1.2 * rough[:, :, slice_]
            array[300:440, 200:340, slice_][far < wide] = number
    return array


def peer(folder):
    """Times of scikit-image and VTK, as JSON on stdout; runs in the other interpreter."""
    import vtk
    from skimage.measure import marching_cubes
    from vtk.util.numpy_support import numpy_to_vtk

    array = np.load(folder / "labels.npy")
    asked = json.loads((folder / "asked.json").read_text())
    took = {}
    for way in ("whole", "cropped"):
        start = time.process_time()
        for number, wanted, box in asked["bones"]:
            seen = array if way == "whole" else array[tuple(slice(*side) for side in box)]
            vertices, faces, _, _ = marching_cubes(seen == number, 0.5, spacing=asked["spacing"])
            points, cells, solid = vtk.vtkPoints(), vtk.vtkCellArray(), vtk.vtkPolyData()
            points.SetData(numpy_to_vtk(vertices, deep=True))
            ids = numpy_to_vtk(faces.ravel().astype(np.int64), True, vtk.VTK_ID_TYPE)
            cells.SetData(3, ids)
            solid.SetPoints(points)
            solid.SetPolys(cells)
            decimate = vtk.vtkQuadricDecimation()
            decimate.SetInputData(solid)
            decimate.SetTargetReduction(1 - wanted / len(faces))
            decimate.Update()
        took[way] = time.process_time() - start
    sys.stdout.write(json.dumps(took))


def ours(path, out):
    """Times of Condyle, and the surfaces."""
    from condyle import read_labels
    from condyle.mesh import surfaces
    from condyle.workflows.mesh import mesh

    labels = read_labels(path)
    start = time.process_time()
    found = surfaces(labels)
    between = time.process_time()
    mesh(MeshRequest(labelmaps=[path], out=out))
    took = {"surfaces": between - start, "file to files": time.process_time() - between}
    return took, found


def has_vtk(python):
    return not subprocess.run([python, "-c", "import vtk, skimage"], capture_output=True).returncode


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vtk", default=sys.executable, help="a Python that has vtk")
    parser.add_argument("--labels", type=Path, help="a label map of your own")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        peer(given.peer)
        return
    from condyle import Grid, LabelMap, read_labels, write

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = given.labels or write(
            LabelMap.of(two_bones(), Grid.regular(SHAPE, SPACING)), folder / "labels.nii.gz"
        )
        labels = read_labels(path)
        np.save(folder / "labels.npy", labels.array)
        _, found = ours(path, folder / "out")  # libraries start
        bones = []
        for mesh in found:
            held = np.nonzero(labels.mask(mesh.name))
            box = [(max(int(x.min()) - 1, 0), int(x.max()) + 2) for x in held]
            bones.append((labels.scheme[mesh.name].id, len(mesh.faces), box))
        (folder / "asked.json").write_text(json.dumps({"bones": bones, "spacing": labels.spacing}))
        compare(given.vtk, path, folder, [len(mesh.faces) for mesh in found])


def compare(python, path, folder, triangles):
    """Let both take turns, and tell the medians."""
    with_peer = has_vtk(python)
    seconds, ratios = {}, {"whole": [], "cropped": []}
    for _ in range(ROUNDS):
        took, _ = ours(path, folder / "out")
        for what, each in took.items():
            seconds.setdefault(f"Condyle, {what}", []).append(each)
        if with_peer:
            command = [python, __file__, "--peer", str(folder)]
            theirs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            for way, each in theirs.items():
                seconds.setdefault(f"scikit-image and VTK, {way}", []).append(each)
                ratios[way].append(each / took["surfaces"])
    print(f"{len(triangles)} structures, {sum(triangles)} triangles")
    for what, each in seconds.items():
        print(f"{what:30} {statistics.median(each):6.2f} s")
    if with_peer:
        for way, each in ratios.items():
            print(f"{statistics.median(each):4.1f} x as fast as scikit-image and VTK, {way}")
    else:
        print(f"{python} has no vtk and scikit-image: nothing to compare with (see --vtk)")
    slow = with_peer and statistics.median(ratios["whole"]) < GOAL
    if slow or statistics.median(seconds["Condyle, file to files"]) > FILE_GOAL:
        sys.exit(f"missed the goals: {GOAL} x as fast, {FILE_GOAL} s from file to files")


if __name__ == "__main__":
    main()
