"""The command line: `condyle VERB ...`. Says one sentence when something is wrong; exits 2 or 1."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from cyclopts import App, CycloptsError, Group
from cyclopts.exceptions import MissingArgumentError

from condyle._version import __version__
from condyle.app.cli.terminal import RESULTS, complain, replace_missing_letters
from condyle.errors import (
    Cancelled,
    CondyleError,
    EngineFailed,
    TrainingFailed,
    TrainingPaused,
    WorkerDied,
)

__all__ = ["EXIT_CODES", "HUNGRY", "VERBS", "app", "file_of", "main"]


@dataclass(frozen=True)
class Verb:
    """What `condyle --help` says of a verb, and the example that its own help ends with."""

    does: str
    example: str


VERBS: dict[str, dict[str, Verb]] = {
    "Data": {
        "import": Verb(
            "Make a training data set of scans and masks, or of a data set in another layout.",
            "import scans --masks masks --scheme lower-limb --overlap background --out data",
        ),
        "check": Verb(
            "Check a data set for problems before training.",
            "check data --out look",
        ),
    },
    "Train": {
        "plan": Verb(
            "Show the network, patch and batch size that `train` would choose, with reasons.",
            "plan data --budget 15m",
        ),
        "train": Verb(
            "Train a segmenter on a data set's fold, and score it on the test cases.",
            "train data --budget 15m --out run",
        ),
        "compare": Verb(
            "Train several networks on the same folds; rank them, and test the differences.",
            "compare models.toml --out compared",
        ),
        "quality": Verb(
            "Calibrate on test cases how far to trust a segmenter.",
            "quality run more_labelled_scans",
        ),
    },
    "Use": {
        "segment": Verb(
            "Segment scans; each result lies on its scan's own grid.",
            "segment run new_scans --out labels",
        ),
        "refine": Verb(
            "Clean label maps; or choose the steps for a segmenter.",
            "refine labels --keep-largest 1 --fill-holes --out clean",
        ),
        "show": Verb(
            "Draw a slice of a scan beside its labels, many slices on a sheet, or labels in 3D.",
            "show scan.nii.gz labels.nii.gz --slice 50 --out slice.png",
        ),
        "mesh": Verb(
            "Turn label maps into surfaces in millimetres.",
            "mesh clean --out surfaces",
        ),
        "export": Verb(
            "Write a trained network for other programs.",
            "export run --to openvino --out exported",
        ),
    },
    "Page": {
        "serve": Verb(
            "Show Condyle's page in a browser of this machine; nothing leaves it.",
            "serve workspace --roots scans",
        ),
    },
    "Measure": {
        "evaluate": Verb(
            "Score predictions against the truth, case by case and structure by structure.",
            "evaluate labels truth --out scores",
        ),
        "features": Verb(
            "Compare the regions of scans by deep features.",
            "features scans labels --encoder efficientnet_lite0 --out features.csv",
        ),
        "runs": Verb(
            "List the runs below folders: settings, patients, training time, Dice.",
            "runs . --sort dice --out runs.csv",
        ),
    },
    "More": {
        "demo": Verb(
            "Run every step on phantoms, in minutes: data, training, test scores, surfaces.",
            "demo --out demo",
        ),
        "networks": Verb(
            "List the available networks, and whether their weights are on this machine.",
            "networks resnet34",
        ),
        "presets": Verb(
            "List the presets: the studies whose settings are built in.",
            "presets",
        ),
        "doctor": Verb(
            "Show this machine's processor, versions, weights and fast precisions.",
            "doctor",
        ),
        "import-weights": Verb(
            "Convert a checkpoint to safetensors; or import a trained nnU-Net.",
            "import-weights checkpoint.pth --out weights.safetensors",
        ),
    },
}
"""Group -> verb -> what it does, all in the order of the work; a file of this folder each."""

HUNGRY = {"plan", "train", "compare", "segment", "quality", "demo"}
"""Verbs that run with the allocator settings of `condyle.jobs.process`."""

EXIT_CODES: dict[type[Exception], int] = {
    TrainingPaused: 0, Cancelled: 130, EngineFailed: 1, TrainingFailed: 1, WorkerDied: 1,
}  # fmt: skip
"""Of the errors that the user cannot fix; all others are 2."""


def file_of(verb: str) -> str:
    """The name of a verb's file in this folder."""
    return verb.replace("-", "_") + ("_" if verb == "import" else "")


def _app() -> App:
    """The command line; a verb's own file is imported when it is called."""
    made = App(
        name="condyle",
        help="Segmentations of CT and MRI that can be trusted, from a handful of labelled scans.",
        version=__version__,
        help_format="plaintext",
        console=RESULTS,
        suppress_keyboard_interrupt=False,
    )
    groups = {title: Group(title, sort_key=place) for place, title in enumerate(VERBS)}
    for title, verbs in VERBS.items():
        for number, (name, verb) in enumerate(verbs.items()):
            made.command(
                f"condyle.app.cli.{file_of(name)}:command", name=name, help=verb.does,
                group=groups[title],
                sort_key=number, help_epilogue=f"Example: condyle {verb.example}",
            )  # fmt: skip
    inflate = App(
        name="inflate", help="Check networks that are inflated from 2D to 3D.", group=groups["More"]
    )
    inflate.command(
        "condyle.app.cli.check_inflation:command", name="check",
        help_epilogue="Example: condyle inflate check resnet34",
    )  # fmt: skip
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
        complain(_missing(error) if isinstance(error, MissingArgumentError) else str(error))
        return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 2)
    except KeyboardInterrupt:
        complain("stopped")  # a verb at work says where it was, and how to go on
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


def _missing(error: MissingArgumentError) -> str:
    """What is missing, in words, and what it is: `condyle segment` needs SCANS as well."""
    argument, command = error.argument, " ".join(error.command_chain or ())
    if argument is None or error.keyword or any(token.keyword for token in argument.tokens):
        return str(error)
    name = argument.names[0]
    name = name if argument.index is None else name.removeprefix("--").upper()
    words = f"{argument.parameter.help or ''}".rstrip(".")
    return f"condyle {command} needs {name} as well: {words}; see condyle {command} --help"
