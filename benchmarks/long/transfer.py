"""What carrying weights from 2D to 3D is worth: the same minutes, each way to start a network.

    python benchmarks/long/transfer.py DATASET --out FOLDER [--budget 10m] [--seeds 0 1]

Every row trains on the data set's fold 0 and is scored on its test cases. A run that is
finished is not repeated, so an interrupted table goes on.

The minutes are processor time of one core (`on_one_core.py`): two seeds can be run side by side
(--seeds 0 and --seeds 1).
"""

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

from rivals import ALONE, ONE_CORE

FLAT, DEEP = "unet-efficientnet_lite0", "3d:unet-efficientnet_lite0"
BATCH = {FLAT: 8, DEEP: 2}
ROWS = {
    "3D from random numbers": [(DEEP, "none", "average", 1.0)],
    "2D from photographs": [(FLAT, "imagenet", "average", 1.0)],
    "3D inflated by average": [(DEEP, "imagenet", "average", 1.0)],
    "3D inflated by center": [(DEEP, "imagenet", "center", 1.0)],
    "3D inflated by scale": [(DEEP, "imagenet", "scale", 1.0)],
    "3D inflated by acs": [(DEEP, "imagenet", "acs", 1.0)],
    "2D, then inflated": [
        (FLAT, "imagenet", "average", 0.5),
        (DEEP, "before", "center", 0.5),
    ],
}
"""Row -> its trainings: network, weights, inflation, part of the budget."""
OWN_VOXELS = "[preparation]\nspacing = [0, 0, 0]\n"
"""Slices that a 3D network goes on from are not enlarged: what follows keeps their voxels."""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=10, help="minutes a row")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    given = parser.parse_args()
    for seed in given.seeds:
        for row in ROWS:
            run(row, seed, given)
            print(table(given), flush=True)


def run(row, seed, given):
    """The trainings of a row, one after the other, each from the weights of the one before."""
    before = ""
    for n, (network, weights, inflation, part) in enumerate(ROWS[row]):
        out = folder(given, row, seed, n)
        followed = n + 1 < len(ROWS[row])
        config = given.out / "own_voxels.toml"
        if followed:
            config.write_text(OWN_VOXELS)
        if not (out / "summary.csv").is_file():
            subprocess.run(
                [sys.executable, ONE_CORE, "-m", "condyle", "train", given.dataset, "--fold", "0",
                 "--network", network, "--weights", before or weights, "--inflation", inflation,
                 "--budget", f"{60 * part * given.budget:.0f}s", "--batch", str(BATCH[network]),
                 "--seed", str(seed), "--out", out,
                 *(["--config", config] if followed else [])],
                check=True,
                env=os.environ | ALONE,
            )  # fmt: skip
        before = str(out)


def folder(given, row, seed, part):
    name = row.replace(" ", "_").replace(",", "")
    return given.out / f"{name}-{given.budget:g}m-seed{seed}-{part}"


def table(given):
    """The rows that are finished, as Markdown: mean Dice over cases, and the spread over seeds."""
    lines = [
        "| start | Dice, mean over cases, a seed each | mean | sd over seeds |",
        "|---|---|---|---|",
    ]
    for row, trainings in ROWS.items():
        scores = []
        for seed in given.seeds:
            file = folder(given, row, seed, len(trainings) - 1) / "summary.csv"
            if file.is_file():
                with file.open(newline="") as stream:
                    scores.append(float(list(csv.DictReader(stream))[-1]["dice_mean"]))
        if scores:
            spread = f"{stdev(scores):.3f}" if len(scores) > 1 else ""
            each = ", ".join(f"{score:.3f}" for score in scores)
            lines.append(f"| {row} | {each} | {mean(scores):.3f} | {spread} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
