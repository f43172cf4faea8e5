"""What carrying weights from 2D to 3D is worth: the same minutes, each way to start a network.

    python benchmarks/long/transfer.py DATASET --out FOLDER [--budget 10] [--seeds 0 1]

Every row trains on the data set's fold 0 and is scored on its test cases by `condyle compare`. A
run that is finished is not repeated, so an interrupted table goes on.

The minutes are processor time of one core (`on_one_core.py`): two seeds can be run side by side
(--seeds 0 and --seeds 1, with a folder each).
"""

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import tomli_w
from rivals import ALONE, ONE_CORE

FLAT, DEEP = {"name": "unet-efficientnet_lite0"}, {"name": "3d:unet-efficientnet_lite0"}
BATCH = {"unet-efficientnet_lite0": 8, "3d:unet-efficientnet_lite0": 2}
BEFORE = "2D, half of the time"
"""What the last row starts from; its own figures are not in the table."""
ROWS = {
    "3D from random numbers": DEEP | {"weights": "none"},
    "2D from photographs": FLAT,
    "3D inflated by average": DEEP | {"inflation": {"strategy": "average"}},
    "3D inflated by center": DEEP | {"inflation": {"strategy": "center"}},
    "3D inflated by scale": DEEP | {"inflation": {"strategy": "scale"}},
    "3D inflated by acs": DEEP | {"inflation": {"strategy": "acs"}},
    BEFORE: FLAT,
    "2D, then inflated": DEEP | {"weights": f"model:{BEFORE}", "inflation": {"strategy": "center"}},
}
"""Row -> its network."""
HALVES = (BEFORE, "2D, then inflated")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=10, help="minutes a row")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "models.toml"
    file.write_text(tomli_w.dumps(comparison(given.seeds, 60 * given.budget)))
    done = subprocess.run(
        [sys.executable, ONE_CORE, "-m", "condyle", "compare", file, "--dataset", given.dataset,
         "--out", given.out / "compared"],
        check=False,
        env=os.environ | ALONE,
    )  # fmt: skip
    if done.returncode in (0, 2):  # 2: a row failed, and has the worst figures
        print(table(given.out / "compared" / "scores.csv"))
    sys.exit(done.returncode)


def comparison(seeds, seconds):
    """What `condyle compare` reads. Slices that a 3D network goes on from are not enlarged."""
    models = {}
    for row, network in ROWS.items():
        part = 0.5 if row in HALVES else 1.0
        training = {"budget": part * seconds, "batch": BATCH[network["name"]]}
        models[row] = {"network": network, "training": training}
    models[BEFORE]["preparation"] = {"spacing": [0, 0, 0]}
    return {"seeds": seeds, "models": models}


def table(scores):
    """The rows as Markdown: mean Dice over cases, and the spread over seeds."""
    with scores.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines = [
        "| start | Dice, mean over cases, a seed each | mean | sd over seeds |",
        "|---|---|---|---|",
    ]
    for name in ROWS:
        found = {}
        for row in rows:
            if row["model"] == name and name != BEFORE and row["dice"]:
                found.setdefault(row["seed"], []).append(float(row["dice"]))
        each = [mean(values) for values in found.values()]
        if each:
            spread = f"{stdev(each):.3f}" if len(each) > 1 else ""
            said = ", ".join(f"{one:.3f}" for one in each)
            lines.append(f"| {name} | {said} | {mean(each):.3f} | {spread} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
