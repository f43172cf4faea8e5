"""Which modules a piece of work goes through."""

import sys
import threading
from contextlib import contextmanager


@contextmanager
def modules_entered(into):
    """Notes the modules of Condyle whose functions are called, in their order."""

    def note(frame, event, argument):
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("condyle.") and name not in into:
            into.append(name)

    before = sys.getprofile()
    sys.setprofile(note)
    threading.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
