"""The verb that sets networks side by side."""

from __future__ import annotations

from pathlib import Path

from condyle.app.cli.command import Out, app

SHOWN = ("Model", "Dice", "95 % CI", "HD95 (mm)", "Rank", "p to the best", "Failed", "Training")


@app.command
def compare(experiment: Path, *, out: Out) -> None:
    """Train several networks on the same folds, and say which is better, and whether by chance.

    Parameters
    ----------
    experiment
        A TOML file: dataset, folds, seeds, [settings] for all, and a table [models.NAME] each.
    out
        Folder for the runs, tables and report.html. Given again, an interrupted comparison goes
        on, and no finished training is repeated.
    """
    from condyle.app.cli.show import bars, say, show_table
    from condyle.report.tables import shown
    from condyle.workflows.compare import compare as run

    with bars() as tell:
        table = run(experiment, out, tell=tell)
    rows = [{key: shown(row.get(key)) for key in SHOWN} for row in table]
    show_table("the same patients, mean ± standard deviation", rows)
    say(f"more in {out / 'report.html'}")
