"""A worker process of `LocalProcesses`: calls in by standard input, results out by its output."""

from __future__ import annotations

import os
import sys

from condyle.jobs.executors import receive, send


def main() -> None:
    """Do calls until there are none left."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    while True:
        try:
            work, args, more = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = True, work(*args, **more)
        except Exception as error:
            answer = False, error
        try:
            send(answers, answer)
        except (TypeError, AttributeError) as error:  # an error that cannot be pickled
            send(answers, (False, RuntimeError(f"{answer[1]!r} ({error})")))


if __name__ == "__main__":
    main()
