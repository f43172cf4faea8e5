"""A command on one core, whose clock counts the processor time that it is given.

    python benchmarks/long/on_one_core.py -m condyle train DATASET --out RUN --budget 10m
    python benchmarks/long/on_one_core.py SCRIPT.py ...

Other work on the machine takes nothing from its minutes, so that trainings can be compared on a
machine that is not quiet, several side by side. Start it with the environment `ALONE` of
`rivals.py`. It needs torch alone.
"""

import runpy
import sys
import time
from pathlib import Path

import torch

torch.set_num_threads(1)
time.monotonic = time.process_time
_, kind, *rest = sys.argv
if kind == "-m":
    sys.argv = rest
    runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
else:
    sys.argv = [kind, *rest]
    sys.path[0] = str(Path(kind).resolve().parent)
    runpy.run_path(kind, run_name="__main__")
