"""The process of one job: `python -m condyle.app.web.worker FOLDER TRY`."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from condyle.app.cli.command import plain
from condyle.app.cli.terminal import hushed
from condyle.app.web.events import Teller
from condyle.app.web.job_folder import JobFolder
from condyle.app.web.verbs import command_named
from condyle.errors import Cancelled, CondyleError
from condyle.jobs.job import Job, shown
from condyle.jobs.outputs import write_json

__all__ = ["main"]


def main(folder: Path, number: int) -> int:
    """Do the work of a job, and write what is said of it; the exit code of the shell."""
    job, teller = JobFolder(folder), Teller(JobFolder(folder).events)
    (folder / "result.json").unlink(missing_ok=True)
    teller.tell("started", **{"try": number})
    end: dict[str, Any]
    try:
        code, said = _done(job, teller, goes_on=number > 1)
        end = {"kind": "done" if code == 0 else "failed", "sentence": said}
    except (KeyboardInterrupt, Cancelled):
        end = {"kind": "cancelled", "sentence": "cancelled; what was finished is kept"}
    except CondyleError as error:
        end = {"kind": "failed", "sentence": shown(str(error)), "setting": _setting(error)}
    except Exception as error:
        traceback.print_exc()
        end = {
            "kind": "failed",
            "sentence": shown(
                f"this is a bug in Condyle, not a problem of your data ({type(error).__name__}: "
                f"{error}); the log has all of it"
            ),
        }
    kind = end.pop("kind")
    teller.tell(kind, **end, **{"try": number})
    return 0 if kind == "done" else 1


def _done(job: JobFolder, teller: Teller, goes_on: bool) -> tuple[int, str]:
    """Do it; the exit code, and what failed of it in a sentence."""
    asked = job.request()
    command = command_named(asked["verb"])
    settings = dict(asked["settings"])
    if goes_on and "resume" in command.request.model_fields:
        settings["resume"] = True
    request = command.prepare(command.request.model_validate(settings))
    work = Job(teller.progress, teller.warning, on_news=teller.news)
    with work.logged(job.path / "work.log"):
        done = command.do(request, work)
    with hushed():  # what `show` prints is for the shell: only its exit code counts
        code = command.show(request, done) or 0
    found = plain(done)
    write_json(job.path / "result.json", found)
    failed = found.get("failed") if isinstance(found, dict) else None
    first = next(iter(failed.items()), None) if isinstance(failed, dict) else None
    return code, f"{first[0]}: {first[1]}" if first else ""


def _setting(error: CondyleError) -> str:
    return str(getattr(error, "setting", "") or "")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
