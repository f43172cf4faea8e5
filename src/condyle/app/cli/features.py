"""The verb that compares the regions of a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from condyle.app.cli.command import app

Names = Annotated[list[str], Parameter(consume_multiple=True)]


@app.command
def features(
    scan: Path,
    labelmap: Path | None = None,
    *,
    out: Path,
    encoder: str = "densenet121",
    inflation: Literal["average", "center", "scale", "acs"] = "average",
    weights: str = "imagenet",
    regions: Names | None = None,
    mode: Literal["volume", "box"] = "volume",
    pool: Literal["volume", "region"] = "volume",
    spacing: float = 1.5,
    window: tuple[float, float] | None = None,
    permutations: int = 20,
    seed: int = 0,
    device: str = "auto",
    runtime: Literal["auto", "torch", "openvino"] = "auto",
) -> int:
    """Compare the regions of scans by the features of a network of photographs, inflated to 3D.

    Parameters
    ----------
    scan
        A scan; a folder of scans; or a data set, which has its label maps in it.
    labelmap
        The scan's label map; or a folder of label maps that are called as the scans.
    out
        The table to write, NAME.csv. Beside it: how it was made (.json), the features (.npz), a
        heat map (.png), how alike random regions are (_random.csv), and a page of all (.html).
    weights
        imagenet, none, a file, or the folder of a training.
    regions
        Structures to compare, and background; all of them, if left out.
    mode
        volume: each region in the whole scan, air everywhere else. box: the box around it.
    pool
        Average the maps over the volume, or over the region.
    spacing
        Of the voxels that the network sees, in mm; 0 keeps the scan's own.
    window
        What becomes black and white; -1000 2000 (HU) for CT, percentiles 0.5 and 99.5 for others.
    permutations
        How often the regions are put at random places of the scan, for comparison.
    """
    from condyle.app.cli.show import bars, complain, say, show_table
    from condyle.workflows.features import Comparison, features_of_scans

    how = Comparison(
        tuple(regions or ()), mode=mode, pool=pool, spacing=spacing, window=window,
        permutations=permutations, seed=seed,
    )  # fmt: skip
    with bars() as tell:
        done, failed = features_of_scans(
            scan, labelmap, out, how, encoder=encoder, inflation=inflation, weights=weights,
            device=device, runtime=runtime, tell=tell,
        )  # fmt: skip
    for name, words in failed.items():
        complain(f"{name}: {words}")
    if len(done) == 1:
        one = next(iter(done.values()))
        show_table("cosines of pooled features", one.rows())
        if one.standings:
            show_table("beside random regions of the same size and shape", one.standing_rows())
    if done:
        say(f"{len(done)} scan{'s' * (len(done) > 1)} compared; the table is {out}")
    return 2 if failed else 0
