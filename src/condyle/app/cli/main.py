"""The command line: `condyle VERB ...`. Says one sentence when something is wrong; exits 2 or 1."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from condyle.app.cli import compare, features, quality, road, runs, tools
from condyle.app.cli.command import app
from condyle.errors import CondyleError

__all__ = ["app", "compare", "features", "main", "quality", "road", "runs", "tools"]

HUNGRY = {"plan", "train", "compare", "segment", "quality", "demo"}
"""Verbs that run with the allocator settings of `condyle.jobs.process`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 the user can mend it, 1 we must, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    if given and given[0] in HUNGRY:
        from condyle.jobs.process import restart_with_roomy_allocator

        restart_with_roomy_allocator(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_run(given, debug))


def _run(given: list[str], debug: bool) -> int:
    """The exit code of a command."""
    from condyle.app.cli.show import complain, reporting

    try:
        with reporting():
            done = app(given, exit_on_error=False, print_error=False, result_action="return_value")
        return done if isinstance(done, int) else 0
    except (CondyleError, CycloptsError) as error:
        if debug:
            raise
        complain(str(error))
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        complain("interrupted; what was finished is kept")
        return 130
    except Exception as error:
        if debug:
            raise
        complain(
            f"this is a mistake in Condyle, not in your data ({type(error).__name__}: {error}); "
            "run it again with --debug and send us what it prints"
        )
        return 1
