"""The best segmentation for the time: Condyle, a plain script and nnU-Net, the same minutes.

    python benchmarks/long/accuracy_for_time.py DATASET --out FOLDER
        [--minutes 5 15 60] [--seeds 0 1 2] [--fold 0] [--nnunet PYTHON] [--busy]

All train on the fold's training cases and are scored on its test cases, by `condyle evaluate`.
Condyle runs with its defaults; its minutes hold everything, the rivals' their fitting alone.
A run that is finished is not repeated, so an interrupted table goes on. Needs a quiet
machine, as minutes are time, or --busy.
"""

from rivals import Course, curve, options, running, table


def main():
    parser = options(__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 15, 60])
    given = parser.parse_args()
    course = Course(given.dataset, given.fold, given.out, given.nnunet, given.busy)
    for minutes in given.minutes:
        for seed in given.seeds:
            for rival in running(given):
                course.run(rival, minutes, seed)
                rows = {each: course.scores(each, given.seeds) for each in given.minutes}
                print(table("minutes", rows), flush=True)
                curve(given.out / "accuracy_for_time.png", "minutes", rows)


if __name__ == "__main__":
    main()
