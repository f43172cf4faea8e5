"""A worker process of `LocalProcesses`: calls in by standard input, results out by its output."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from contextlib import suppress

from condyle.jobs.executors import receive, send


def main() -> None:
    """Say that it is there, then do calls until there are none left."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start some that ignore it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    send(answers, "ready")
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
            pickle.loads(pickle.dumps(answer))
        except Exception as error:  # it cannot travel: its words can
            answer = False, RuntimeError(f"{answer[1]!r} ({error})")
        send(answers, answer)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):  # who waits for the answers says it
        main()
