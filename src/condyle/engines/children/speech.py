"""How a child process tells its parent: lines on its standard output that begin with `condyle:`.

The children know nothing of Condyle: they run under any Python that has the engine.
"""

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

MARK = "condyle: "
SECONDS = 0.5
"""Between two lines of one stage."""

_last = {"stage": "", "time": 0.0}


def say(stage, done=0.0, words=""):
    """Tell the stage, how far it is from 0 to 1, and a few words; not oftener than is of use."""
    now = time.monotonic()
    if stage == _last["stage"] and now - _last["time"] < SECONDS and 0 < done < 1:
        return
    _last.update(stage=stage, time=now)
    _write({"stage": stage, "done": done, "words": words})


def run(do):
    """Do the job of the file that the command line names, and write what came of it beside it."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    job_file = Path(sys.argv[1]).resolve()
    job = json.loads(job_file.read_text(encoding="utf-8"))
    try:
        found = do(job)
    except Exception as error:  # whatever it is, the parent shall know
        traceback.print_exc()
        _write({"failed": f"{type(error).__name__}: {error}"})
        sys.exit(1)
    job_file.with_name("result.json").write_text(json.dumps(found, default=float), encoding="utf-8")


def _end_with(parent):
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


def _write(line):
    sys.stdout.write(f"\n{MARK}{json.dumps(line)}\n")
    sys.stdout.flush()
