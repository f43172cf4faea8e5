"""Two copies of a model compared again and again: how often is the difference called significant?

    python benchmarks/long/copies.py scores.csv OTHER/scores.csv --model NAME

Takes the scores.csv of two comparisons of one model with two seeds. 200 times it draws patients
and says by chance, patient by patient, which seed is called which, so that nothing but chance
tells the two apart; `condyle.measure.statistics` tests each draw. About 5 % is right.
"""

import argparse
from pathlib import Path

import numpy as np

from condyle.measure.statistics import differences, of_patients
from condyle.runs.record import read_csv

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("scores", type=Path, nargs=2)
parser.add_argument("--model", required=True)
parser.add_argument("--patients", type=int, default=30)
given = parser.parse_args()

rows = {}
for number, path in enumerate(given.scores):
    rows[str(number)] = [row for row in read_csv(path) if row["model"] == given.model]
shared = {row["case"] for row in rows["0"]} & {row["case"] for row in rows["1"]}
rows = {seed: [row for row in some if row["case"] in shared] for seed, some in rows.items()}
scores = of_patients(rows, "dice")
patients = sorted(scores["0"])
copies = np.array([[scores[seed][patient] for patient in patients] for seed in rows])
print(f"{len(patients)} patients; mean Dice {copies[0].mean():.4f} and {copies[1].mean():.4f}")
rng, called = np.random.default_rng(0), 0
for _ in range(200):
    some = rng.choice(len(patients), given.patients, replace=False)
    swapped = rng.integers(0, 2, some.size)
    drawn = {
        name: {patients[p]: copies[side ^ s, p] for p, s in zip(some, swapped, strict=True)}
        for side, name in enumerate(("a", "b"))
    }
    called += differences(drawn)[0].significant
print(f"called significant in {called} of 200 draws of {given.patients} patients: {called / 2:g} %")
