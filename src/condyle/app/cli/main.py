"""The command line: `condyle VERB ...`. Says one sentence when something is wrong; exits 2 or 1."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from condyle._version import __version__
from condyle.app.cli.show import RESULTS, complain, replace_missing_letters
from condyle.errors import (
    Cancelled,
    CondyleError,
    EngineFailed,
    TrainingFailed,
    TrainingPaused,
    WorkerDied,
)

__all__ = ["EXIT_CODES", "VERBS", "app", "main"]

VERBS = {
    "demo": "Run every step on phantoms, in minutes: data, training, test scores, surfaces.",
    "import": "Make a training data set of scans and masks, or of a data set in another layout.",
    "check": "Check a data set for problems before training.",
    "plan": "Show the network, patch and batch size that `train` would choose, with reasons.",
    "train": "Train a segmenter on a data set's fold, and score it on the test cases.",
    "segment": "Segment scans; each result lies on its scan's own grid.",
    "refine": "Clean label maps; or choose the steps for a segmenter.",
    "evaluate": "Score predictions against the truth, case by case and structure by structure.",
    "compare": "Train several networks on the same folds; rank them, and test the differences.",
    "mesh": "Turn label maps into surfaces in millimetres.",
    "features": "Compare the regions of scans by deep features.",
    "quality": "Calibrate on test cases how far to trust a segmenter.",
    "runs": "List the runs below folders: settings, patients, training time, Dice.",
    "networks": "List the available networks, and whether their weights are on this machine.",
    "presets": "List the presets: the studies whose settings are built in.",
    "doctor": "Show this machine's processor, versions, weights and fast precisions.",
    "export": "Write a trained network for other programs.",
    "import-weights": "Convert a checkpoint to safetensors; or import a trained nnU-Net.",
}
"""Verb -> what it does, in the order of the work; a file of this folder each."""

HUNGRY = {"plan", "train", "compare", "segment", "quality", "demo"}
"""Verbs that run with the allocator settings of `condyle.jobs.process`."""

EXIT_CODES: dict[type[Exception], int] = {
    TrainingPaused: 0, Cancelled: 130, EngineFailed: 1, TrainingFailed: 1, WorkerDied: 1,
}  # fmt: skip
"""Of the errors that the user cannot fix; all others are 2."""


def _app() -> App:
    """The command line; a verb's own file is imported when it is called."""
    made = App(
        name="condyle",
        help="Segmentations of CT and MRI that can be trusted, from a handful of labelled scans.",
        version=__version__,
        help_format="plaintext",
        console=RESULTS,
    )
    for name, does in VERBS.items():
        file = name.replace("-", "_") + ("_" if name == "import" else "")
        made.command(f"condyle.app.cli.{file}:command", name=name, help=does)
    inflate = App(name="inflate", help="Check networks that are inflated from 2D to 3D.")
    inflate.command("condyle.app.cli.check_inflation:command", name="check")
    made.command(inflate)
    return made


app = _app()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 the user can fix it, 1 our bug, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    if given and given[0] in HUNGRY:
        from condyle.jobs.process import restart_with_roomy_allocator

        restart_with_roomy_allocator(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_run(given, debug))


def _run(given: list[str], debug: bool) -> int:
    """The exit code of a command."""
    replace_missing_letters()
    # what a job warns of is shown by its own listener: Python's logging must not say it again
    logging.getLogger("condyle").addHandler(logging.NullHandler())

    try:
        done = app(given, exit_on_error=False, print_error=False, result_action="return_value")
        return done if isinstance(done, int) else 0
    except (CondyleError, CycloptsError) as error:
        if debug:
            raise
        complain(str(error))
        return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 2)
    except KeyboardInterrupt:
        complain("interrupted; what was finished is kept")
        return 130
    except Exception as error:
        if debug:
            raise
        complain(
            f"this is a bug in Condyle, not a problem of your data ({type(error).__name__}: "
            f"{error}); "
            "run it again with --debug and send us what it prints"
        )
        return 1
