"""Expected against true Dice on held-out cases, made worse on purpose as well.

    python benchmarks/long/quality.py RUN DATASET --out FOLDER
        [--worse 6] [--most N] [--seed 0] [--resplits 200] [--device auto]

Learns on the run's validation cases and tells of its test cases; where validation has fewer
patients than an interval needs, every second test case joins it. No patient is on both sides, and
no two cases share what is drawn for them. Prints, over structures and scans: the rank correlation
of expected and true Dice (Spearman), how well the expected Dice finds predictions of Dice < 0.8
(AUROC), and how often the 90 % interval holds the true Dice, beside the binomial limits for as many
patients and for as many scans: scans of a patient are not independent, the truth lies between. Then
the same over random splits into as many cases. Each case that is done is kept in
FOLDER/observations, and FOLDER/quality.png shows each scan.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy.stats import binom, mannwhitneyu, spearmanr

from condyle.io import open_dataset
from condyle.predict import Segmenter
from condyle.quality.assess import ENOUGH, compared_predictions, evidence_of
from condyle.quality.calibration import FEWEST, LEVEL, Calibration, Observation, Signs
from condyle.quality.degrade import DEGRADATIONS
from condyle.workflows.quality import observed, trained_on, variants

KINDS = ("as it is", *DEGRADATIONS)


def main():
    given = options()
    found = observations(given)
    segmenter = Segmenter.load(given.run)
    learn = [case for case in segmenter.training.validation if case in found]
    test = [case for case in segmenter.training.test if case in found]
    if len({found[case][0].patient for case in learn}) < FEWEST:
        learn, test = learn + test[::2], test[1::2]
    print(f"{len(learn)} cases to learn on, {len(test)} to test on")
    rows = expected(found, learn, test)
    for name, chosen in {"all": rows, **by("structure", rows), **by("kind", rows)}.items():
        print(line(name, chosen))
    resplits(found, len(learn), given)
    picture(rows, given.out / "quality.png")


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--worse", type=int, default=len(DEGRADATIONS))
    parser.add_argument("--most", type=int, default=None, help="cases at the most, to try it out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resplits", type=int, default=200)
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def observations(given):
    """Case -> its observations, each with the kind of its scan; read where they are kept."""
    segmenter = Segmenter.load(given.run)
    predictor = segmenter.predictor(device=given.device)
    dataset = open_dataset(given.dataset)
    held = [*segmenter.training.validation, *segmenter.training.test][: given.most]
    kept = given.out / "observations"
    kept.mkdir(parents=True, exist_ok=True)
    todo = [case for case in held if not (kept / f"{case}.json").is_file()]
    if todo:
        anatomy, embeddings = trained_on(segmenter, dataset, given.device)
    for number, case in enumerate(dataset.select(todo)):
        rows = []
        place = held.index(case.id)
        for kind, channels, truth in variants(case, (given.seed, place), given.worse):
            labels, compared = compared_predictions(predictor, channels)
            evidence = evidence_of(
                segmenter, anatomy, embeddings, channels, labels, compared, given.device
            )
            rows += [
                {"kind": kind, **asdict(x)}
                for x in observed(case.patient, truth, labels, evidence.signs)
            ]
        (kept / f"{case.id}.json").write_text(json.dumps(rows))
        print(f"{number + 1}/{len(todo)} {case.id}", flush=True)
    return {
        case: [seen(row) for row in json.loads((kept / f"{case}.json").read_text())]
        for case in held
    }


class Seen(Observation):
    """An observation that knows how its scan was made worse."""

    kind = ""


def seen(row):
    found = Seen(row["patient"], row["structure"], Signs(**row["signs"]), row["dice"])
    object.__setattr__(found, "kind", row["kind"])
    return found


def expected(found, learn, test):
    """A row a structure and scan of the test cases: true and expected Dice, and the interval."""
    calibration = Calibration.fit(x for case in learn for x in found[case])
    rows = []
    for x in (x for case in test for x in found[case] if not np.isnan(x.dice)):
        estimate = calibration.expect(x.structure, x.signs)
        rows.append({"patient": x.patient, "structure": x.structure, "kind": x.kind, "dice": x.dice,
                     "expected": estimate.dice, "low": estimate.low,
                     "high": estimate.high})  # fmt: skip
    return rows


def by(key, rows):
    return {
        value: [x for x in rows if x[key] == value] for value in dict.fromkeys(x[key] for x in rows)
    }


def columns(rows):
    return (np.array([x[key] for x in rows]) for key in ("dice", "expected", "low", "high"))


def figures(rows):
    """Rank correlation, AUROC of Dice < 0.8 (nan without both kinds), coverage, mean width."""
    dice, expected, low, high = columns(rows)
    poor = dice < ENOUGH
    rank = spearmanr(expected, dice).statistic
    area = float("nan")
    if poor.any() and not poor.all():
        area = mannwhitneyu(expected[~poor], expected[poor]).statistic / (
            poor.sum() * (~poor).sum()
        )
    held = (low <= dice + 1e-9) & (dice <= high + 1e-9)
    return rank, area, held.mean(), (high - low).mean()


def line(name, rows):
    rank, area, held, width = figures(rows)
    poor = np.mean([x["dice"] < ENOUGH for x in rows])
    return (
        f"{name:10} n={len(rows):4d} Dice<{ENOUGH}: {poor:4.0%}  rank {rank:.3f}  "
        f"AUROC {area:.3f}  coverage {held:.3f} (patients "
        f"{limits(len({x['patient'] for x in rows}))}, scans {limits(len(rows))})  "
        f"width {width:.3f}"
    )


def limits(count):
    """Where 95 % of coverages lie, of so many independent scans and an interval that is right."""
    low, high = binom.interval(0.95, count, LEVEL)
    return f"{low / count:.3f}-{high / count:.3f}"


def resplits(found, count, given):
    """Means over random splits of the cases, and how far single splits scatter."""
    rng = np.random.default_rng(given.seed)
    cases = list(found)
    all_of = []
    for _ in range(given.resplits):
        order = [cases[i] for i in rng.permutation(len(cases))]
        all_of.append(figures(expected(found, order[:count], order[count:])))
    if all_of:
        mean, low, high = np.mean(all_of, axis=0), *np.quantile(all_of, (0.05, 0.95), axis=0)
        words = ("rank", "AUROC", "coverage", "width")
        print(f"{given.resplits} random splits, mean and 5 to 95 % of splits:")
        for word, *of in zip(words, mean, low, high, strict=True):
            print(f"  {word:9} {of[0]:.3f} ({of[1]:.3f} to {of[2]:.3f})")


def picture(rows, path):
    """True over expected Dice, a colour a kind, the interval as a grey line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.5, 6))
    _, expected, low, high = columns(rows)
    for a, b, c in zip(expected, low, high, strict=True):
        axes.plot([a, a], [b, c], color="0.9", linewidth=1, zorder=0)
    for number, (kind, chosen) in enumerate(
        (k, [x for x in rows if x["kind"] == k]) for k in KINDS
    ):
        if chosen:
            axes.scatter([x["expected"] for x in chosen], [x["dice"] for x in chosen], s=14,
                         color=f"C{number}", label=kind)  # fmt: skip
    axes.plot([0, 1], [0, 1], color="0.4", linewidth=0.8)
    axes.axvline(ENOUGH, color="0.4", linewidth=0.8, linestyle=":")
    axes.axhline(ENOUGH, color="0.4", linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="expected Dice (90 % interval in grey)",
        ylabel="true Dice",
        xlim=(0, 1),
        ylim=(-0.02, 1),
    )
    axes.legend(title="scan", loc="upper left", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
