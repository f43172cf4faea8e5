"""The verb that learns how far to trust a segmenter."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from condyle.app.cli.command import Several, app


@app.command
def quality(
    run: Path,
    dataset: Path | None = None,
    *,
    fold: int | None = None,
    worse: int = 6,
    planes: Literal["axial", "sagittal", "coronal", "all"] | None = None,
    flips: Literal["none", "left-right", "all"] = "none",
    also: Several | None = None,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Learn on held-out cases how far to trust a segmenter, for `condyle segment --quality`.

    Parameters
    ----------
    run
        The --out folder of `condyle train`.
    dataset
        Labelled cases that were not trained on, of ten patients or more; left out: the run's
        validation cases.
    fold
        Only the cases that this fold of the data set holds out.
    worse
        How many times each case is made worse (noise, blur, crop, flip, scale, metal), 0 to 6.
    planes
        Compare the answers in these planes; `condyle segment --quality` then wants the same.
        Without --planes, --flips and --also: the answers for the scan and for its mirror image.
    flips
        Compare the answers for mirror images.
    also
        Compare the answers of these runs too (folds, seeds, planes): their --out folders.
    """
    from condyle.app.cli.show import bars, say, show_table
    from condyle.workflows.quality import calibrate

    with bars() as tell:
        rows = calibrate(
            run, dataset, fold=fold, worse=worse, planes=planes, flips=flips, also=also or [],
            device=device, seed=seed, tell=tell,
        )  # fmt: skip
    show_table("expected Dice, as learnt on held-out cases and on worsened copies of them", rows)
    say(f"stored with the segmenter of {run}: `condyle segment --quality` tells it of each scan")
