"""From .nii.gz to .nii.gz: Condyle and the plain script that users write, the same network.

    python benchmarks/long/whole_scan.py RUN SCAN.nii.gz --out FOLDER [--size 256] [--runtime auto]

RUN is one of a 2D network over axial slices. The plain script is a PyTorch loop in fp32 over
batches of 8 slices: nibabel reads, skimage resizes each slice to `--size` pixels and the
classes back, nibabel writes. Each runs in its own process, one after the other; the table says
their time as a ratio, the part of Condyle's that its network takes, peak memory, and how many
foreground voxels have the same label.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from condyle.jobs.process import ROOMY

BATCH = 8


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256, help="pixels of a slice's side")
    parser.add_argument("--runtime", default="auto", choices=["auto", "torch", "openvino"])
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part:
        PARTS[given.part](given)
        return
    found = {part: measured(part, given) for part in PARTS}
    ours, plain = found["condyle"], found["plain"]
    print(f"as fast as the plain script: {plain['seconds'] / ours['seconds']:.1f} times")
    print(f"part of Condyle's time inside the network: {ours['network'] / ours['seconds']:.0%}")
    for part, each in found.items():
        print(f"peak memory of {part}: {each['gib']:.2f} GiB")
    a, b = (labels_of(given.out / f"{part}.nii.gz") for part in PARTS)
    there = (a > 0) | (b > 0)
    print(f"foreground voxels with the same label: {np.mean(a[there] == b[there]):.4f}")


def measured(part, given):
    """Seconds and peak memory of a part in its own process."""
    command = [sys.executable, __file__, given.run, given.scan, "--out", given.out,
               "--size", given.size, "--runtime", given.runtime, "--part", part]  # fmt: skip
    roomy = ROOMY if part == "condyle" else {}  # `condyle` starts itself with it
    subprocess.run([str(word) for word in command], check=True, env=os.environ | roomy)
    return json.loads((given.out / f"{part}.json").read_text())


def peak_gib():
    """The most memory that this process has held; the system's own figure counts its parent's."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20


def say(part, given, seconds, network):
    peak = peak_gib()
    found = {"seconds": seconds, "network": network, "gib": peak}
    (given.out / f"{part}.json").write_text(json.dumps(found))


def by_condyle(given):
    """The way of `condyle segment`, with a clock around the network."""
    from dataclasses import replace

    import condyle
    from condyle.io import read, write
    from condyle.predict.runtimes import openvino
    from condyle.predict.runtimes import torch as runtime

    segmenter = condyle.load(given.run)
    by_recipe = segmenter.by_recipe
    settings = by_recipe.settings.changed(size=given.size, spacing=None)
    segmenter = replace(segmenter, preprocessor=by_recipe.changed(settings=settings))
    spent = Clock()
    for kind in (runtime.TorchRuntime, openvino.OpenVinoRuntime):
        kind.probabilities = spent.around(kind.probabilities)
    started = time.monotonic()
    labels = segmenter.segment(read(given.scan), runtime=given.runtime)
    write(labels, given.out / "condyle.nii.gz")
    say("condyle", given, time.monotonic() - started, spent.seconds)


class Clock:
    """How long a function takes, all calls together."""

    def __init__(self):
        self.seconds = 0.0

    def around(self, function):
        def timed(*arguments):
            started = time.monotonic()
            found = function(*arguments)
            self.seconds += time.monotonic() - started
            return found

        return timed


def by_plain_script(given):
    """What users of PyTorch write."""
    import nibabel as nib
    import torch
    from skimage.transform import resize

    import condyle

    segmenter = condyle.load(given.run)
    network = segmenter.network.eval()
    rule = segmenter.by_recipe.settings
    started = time.monotonic()
    file = nib.load(given.scan)
    scan = file.get_fdata(dtype=np.float32)
    small = (given.size, given.size)
    slices = [resize(scan[..., k], small, order=1) for k in range(scan.shape[2])]
    images = (np.clip(np.stack(slices), *rule.window) - rule.mean) / rule.std
    classes, spent = np.zeros(scan.shape, np.uint8), 0.0
    for first in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[first : first + BATCH, None].astype(np.float32))
        before = time.monotonic()
        with torch.no_grad():
            found = network(batch).argmax(1).numpy().astype(np.uint8)
        spent += time.monotonic() - before
        for n, each in enumerate(found):
            classes[..., first + n] = resize(
                each, scan.shape[:2], order=0, preserve_range=True, anti_aliasing=False
            )
    nib.save(nib.Nifti1Image(classes, file.affine), given.out / "plain.nii.gz")
    say("plain", given, time.monotonic() - started, spent)


PARTS = {"condyle": by_condyle, "plain": by_plain_script}


def labels_of(path):
    import nibabel as nib

    return np.asarray(nib.load(path).dataobj)


if __name__ == "__main__":
    main()
