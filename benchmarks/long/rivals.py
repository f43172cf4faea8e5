"""Condyle and its rivals: who trains how, what is finished, and the tables and curves of it.

Condyle gets the minutes for everything: reading, fitting, scoring. The rivals get them for
fitting alone; planning, preprocessing and the segmenting of the held-out cases are not counted.

On a machine that is not quiet, --busy counts a minute as two of one core's processor time
(`on_one_core.py`); nnU-Net's augmentation, which runs in other processes, then costs it nothing.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from condyle.core import Fold
from condyle.io import open_dataset
from condyle.io.datasets.nnunet import write_nnunet
from condyle.jobs.process import ROOMY
from condyle.prepare.splits import default_folds

HERE = Path(__file__).parent
ONE_CORE = HERE / "on_one_core.py"
ALONE = ROOMY | {"OMP_NUM_THREADS": "1"}
"""The environment of what runs on one core."""


@dataclass(frozen=True)
class Course:
    """One fold of a data set, the folder of its runs, and a Python that has nnU-Net, if any.

    With `busy`, minutes are of two cores, counted as twice the processor time of one.
    """

    dataset: Path
    fold: int
    out: Path
    nnunet: Path | None = None
    busy: bool = False

    def fitting(self, python, *command, minutes):
        """The words that start a training in the minutes' clock, and its minutes there."""
        if not self.busy:
            return [python, *command], minutes
        return [python, ONE_CORE, *command], 2 * minutes

    def folder(self, rival, minutes, seed):
        return self.out / f"{rival}-{minutes:g}m-seed{seed}".replace(" ", "_")

    def run(self, rival, minutes, seed):
        """Let a rival train and be scored, from the start, unless it has finished already.

        One that fails leaves its place in the table empty, and the next one runs.
        """
        folder = self.folder(rival, minutes, seed)
        if self.dice(rival, minutes, seed) is None:
            shutil.rmtree(folder, ignore_errors=True)
            try:
                RIVALS[rival](self, minutes, seed, folder)
            except subprocess.CalledProcessError:
                print(f"{rival} failed: see {log_of(folder)}", file=sys.stderr)

    def dice(self, rival, minutes, seed):
        """Mean Dice over structures and held-out cases; None where the run is not finished."""
        file = self.folder(rival, minutes, seed) / "summary.csv"
        if not file.is_file():
            return None
        with file.open(newline="") as stream:
            return float(list(csv.DictReader(stream))[-1]["dice_mean"])

    def scores(self, minutes, seeds):
        """Rival -> Dice of its finished runs, a seed each."""
        found = {name: [self.dice(name, minutes, seed) for seed in seeds] for name in RIVALS}
        return {name: [dice for dice in each if dice is not None] for name, each in found.items()}


def by_condyle(course, minutes, seed, folder):
    start, minutes = course.fitting(sys.executable, "-m", "condyle", minutes=minutes)
    call(
        folder, *start, "train", course.dataset, "--fold", course.fold,
        "--budget", f"{60 * minutes:.0f}s", "--seed", seed, "--out", folder,
    )  # fmt: skip


def by_plain_script(course, minutes, seed, folder):
    start, minutes = course.fitting(sys.executable, HERE / "plain.py", minutes=minutes)
    call(
        folder, *start, course.dataset, "--fold", course.fold,
        "--minutes", minutes, "--seed", seed, "--out", folder / "predictions",
    )  # fmt: skip
    score(course, folder / "predictions", folder)


def by_nnunet(course, minutes, seed, folder):
    base = course.out / "nnU-Net"
    raw = base / "raw" / "Dataset001_course"
    if not raw.is_dir():
        write_cut(course.dataset, split(course.dataset, course.fold), raw)
    start, minutes = course.fitting(course.nnunet, HERE / "nnunet_by_time.py", minutes=minutes)
    call(
        folder, *start, "--minutes", minutes, "--seed", seed,
        nnUNet_raw=base / "raw", nnUNet_preprocessed=base / "preprocessed", nnUNet_results=folder,
    )  # fmt: skip
    score(course, next(folder.glob("**/fold_0/validation")), folder)


RIVALS = {"Condyle": by_condyle, "plain script": by_plain_script, "nnU-Net": by_nnunet}


def log_of(folder):
    return folder.with_name(f"{folder.name}.log")


def call(folder, *command, **variables):
    """Run a command; what it says goes into the log beside the run's folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    added = {name: str(value) for name, value in variables.items()}
    with log_of(folder).open("a") as log:
        subprocess.run(
            [str(word) for word in command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | ALONE | added if ONE_CORE in command else os.environ | added,
            check=True,
        )


def score(course, predictions, folder):
    call(
        folder, sys.executable, "-m", "condyle", "evaluate", predictions, course.dataset,
        "--fold", course.fold, "--out", folder,
    )  # fmt: skip


def split(dataset, number):
    """Ids of the cases that rivals train on, and of the test cases, as Condyle has them."""
    data = open_dataset(dataset)
    if not data.folds:
        data = data.with_folds(default_folds(data.labelled()))
    fold = data.fold(number)
    return (*fold.train, *(fold.validation if fold.test else ())), fold.test or fold.validation


def write_cut(dataset, parts, folder):
    """A data set in nnU-Net's form with these cases alone, whose fold 0 they are."""
    data = open_dataset(dataset)
    train, held_out = parts
    cases = data.select([*train, *held_out])
    patients = "".join(["case,patient\n", *[f"{case.id},{case.patient}\n" for case in cases]])
    write_nnunet(
        folder,
        data.name,
        ((case.id, *case.pair()) for case in cases),
        data.scheme,
        data.channel_names,
        [Fold(train, held_out)],
        beside=lambda: {"patients.csv": patients},
    )


def options(text):
    """The arguments that every contest has."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=[*RIVALS])
    parser.add_argument("--nnunet", type=Path, help="a Python that has nnU-Net 2.8; else without")
    parser.add_argument("--busy", action="store_true", help="count processor time of one core")
    return parser


def running(given):
    """The rivals that can run."""
    return [name for name in given.rivals if name != "nnU-Net" or given.nnunet]


def table(heading, rows):
    """Markdown of {row: {rival: [Dice a seed]}}: mean, and the range over seeds."""
    lines = [f"| {heading} | {' | '.join(RIVALS)} |", "|---" * (len(RIVALS) + 1) + "|"]
    for row, scores in rows.items():
        lines.append(f"| {row} | {' | '.join(cell(scores[name]) for name in RIVALS)} |")
    return "\n".join(lines)


def cell(scores):
    if not scores:
        return ""
    spread = f" ({min(scores):.3f} to {max(scores):.3f})" if len(scores) > 1 else ""
    return f"{mean(scores):.3f}{spread}"


def curve(file, heading, rows):
    """A picture of {number: {rival: [Dice a seed]}}: means as lines, ranges over seeds as bands."""
    from matplotlib.figure import Figure

    figure = Figure((6, 4), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(RIVALS):
        points = {row: scores[name] for row, scores in rows.items() if scores[name]}
        if not points:
            continue
        color = f"C{number}"
        axes.plot([*points], [mean(p) for p in points.values()], "o-", color=color, label=name)
        lowest, highest = [min(p) for p in points.values()], [max(p) for p in points.values()]
        axes.fill_between([*points], lowest, highest, alpha=0.2, color=color)
    axes.set_xscale("log")
    axes.set_xticks([*rows], [f"{row:g}" for row in rows])
    axes.minorticks_off()
    axes.set(xlabel=heading, ylabel="mean Dice of held-out cases")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)
