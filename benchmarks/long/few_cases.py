"""Few labelled scans: Condyle, a plain script and nnU-Net, the same cases and minutes.

    python benchmarks/long/few_cases.py DATASET --out FOLDER
        [--cases 8 16 32] [--minutes 10] [--seeds 0] [--fold 0] [--nnunet PYTHON] [--busy]

A row trains on the first so many of the fold's training cases, in an order drawn once, and is
scored on all test cases of the fold. Each row's cases are a data set of their own with its
own split, so that every rival sees the same. Condyle runs with its defaults; its minutes hold
everything, the rivals' their fitting alone. A run that is finished is not repeated. Needs a quiet
machine, as minutes are time, or --busy.
"""

import numpy as np
from rivals import Course, curve, options, running, split, table, write_cut

ORDER = 0
"""Seed of the order in which cases are taken."""


def main():
    parser = options(__doc__)
    parser.set_defaults(seeds=[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    courses = {count: course_of(count, given) for count in given.cases}
    for course in courses.values():
        for seed in given.seeds:
            for rival in running(given):
                course.run(rival, given.minutes, seed)
                rows = {n: each.scores(given.minutes, given.seeds) for n, each in courses.items()}
                print(table("training cases", rows), flush=True)
                curve(given.out / "few_cases.png", "training cases", rows)


def course_of(count, given):
    """The first so many training cases of the fold, and all that it holds out."""
    out = given.out / f"{count}-cases"
    dataset = out / "data"
    if not dataset.is_dir():
        train, held_out = split(given.dataset, given.fold)
        order = np.random.default_rng(ORDER).permutation(len(train))[:count]
        write_cut(given.dataset, (tuple(sorted(train[i] for i in order)), held_out), dataset)
    return Course(dataset, 0, out, given.nnunet, given.busy)


if __name__ == "__main__":
    main()
