"""The verbs beside the road: refine, mesh, inflate, import-weights, export, networks and others."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cyclopts import App

from condyle.app.cli.command import Out, app
from condyle.errors import ConfigError


@app.command
def refine(
    labelmaps: list[Path],
    *,
    out: Path | None = None,
    keep_largest: int = 0,
    min_mm3: float = 0.0,
    fill_holes: bool = False,
    slice_ratio: float = 0.0,
    smooth_mm: float = 0.0,
    steps: Path | None = None,
    choose: Path | None = None,
) -> None:
    """Clean label maps, structure by structure; or find out what cleans those of a segmenter.

    Parameters
    ----------
    labelmaps
        Files, or folders of them; with --choose, the data set of the training.
    out
        Folder for the results.
    keep_largest
        Keep only so many connected parts of each structure; 0 keeps all.
    min_mm3
        Drop parts smaller than this volume in mm³.
    fill_holes
        Fill what a structure encloses.
    slice_ratio
        Slice by slice: fill holes, and drop specks below this part of the structure's pixels there.
    smooth_mm
        Round structures by a Gaussian of this standard deviation in mm.
    steps
        Instead of flags: a TOML file of such settings, and tables [structures.NAME] of those that
        a structure gets instead.
    choose
        The folder of a training: its validation cases decide which steps raise Dice, and its
        segmenter keeps them.
    """
    from condyle.app.cli.show import bars, say
    from condyle.config import read_toml
    from condyle.refine import Refinement
    from condyle.workflows.refine import refine as run

    flags = Refinement(
        keep_largest=keep_largest, min_mm3=min_mm3, fill_holes=fill_holes,
        slice_ratio=slice_ratio, smooth_mm=smooth_mm,
    )  # fmt: skip
    if flags.to_dict() and steps:
        raise ConfigError("give the steps either in --steps FILE or by flags, not both")
    if choose:
        if flags.to_dict() or steps or out or len(labelmaps) != 1:
            raise ConfigError("it takes no more than this: condyle refine --choose RUN DATASET")
        return _choose_steps(choose, labelmaps[0])
    if out is None:
        raise ConfigError("give --out DIR, a folder for the cleaned label maps")
    wanted = Refinement.from_dict(read_toml(steps)) if steps else flags
    with bars() as tell:
        written = run(labelmaps, out, wanted, tell=tell)
    say(f"{len(written)} label maps refined into {out}")


def _choose_steps(run: Path, dataset: Path) -> None:
    from condyle.app.cli.show import bars, say, show_table
    from condyle.workflows.refine import choose

    with bars() as tell:
        rows = choose(run, dataset, tell=tell)
    shown = [row | {x: f"{row[x]:.4f}" for x in ("dice_before", "dice_after")} for row in rows]
    show_table("mean Dice over validation cases, before and after each step", shown)
    kept = [f"{row['structure']} {row['step']}" for row in rows if row["kept"] == "yes"]
    words = f"will be cleaned by {', '.join(kept)}" if kept else "stays as it is: no step helps"
    say(f"what {run} finds {words}")
    say(f"more in {run / 'refinement.csv'}")


@app.command
def mesh(
    labelmaps: list[Path],
    *,
    out: Out,
    format: Literal["ply", "stl", "obj", "glb"] = "ply",
    space: Literal["ras", "lps"] = "ras",
    smooth: bool = True,
    error_mm: float = 0.1,
) -> None:
    """Turn label maps into surfaces in millimetres: one file a structure, and one of all.

    Parameters
    ----------
    labelmaps
        Files, or folders of them.
    format
        STL has no colours; OBJ has them in a .mtl file beside it.
    space
        Which way the millimetres run: to the right, front and head (ras), or to the left, back
        and head (lps), as in DICOM and ITK. The files say which.
    smooth
        Take off the voxels' stairs; the volume stays.
    error_mm
        How far a surface may move to need fewer triangles, 0 to 10 mm; 0 keeps all triangles.
    """
    from condyle.app.cli.show import bars, say
    from condyle.workflows.mesh import mesh as run

    with bars() as tell:
        written = run(
            labelmaps, out, format=format, space=space, smooth=smooth, error_mm=error_mm, tell=tell
        )
    say(f"{len(written)} surfaces written into {out}")
    say(f"volumes, areas, extents and axes in {out / 'surfaces.csv'}")


inflate_app = App(
    name="inflate", help="From 2D networks to 3D ones, proved.", help_format="plaintext"
)
app.command(inflate_app)


@inflate_app.command(name="check")
def inflate_check(
    encoder: str,
    *,
    weights: str = "imagenet",
    depth: int = 3,
    keep_depth: int = 0,
    out: Path | None = None,
) -> int:
    """Run an encoder and its 3D inflations side by side, and say how far their answers are apart.

    Parameters
    ----------
    weights
        imagenet, none, or a file.
    depth
        Of the kernels: odd; 0 as deep as wide.
    keep_depth
        How many of the first halvings of the plane leave the depth alone.
    out
        A PNG file for a picture of kernels before and after.
    """
    from condyle.app.cli.show import bars, say, show_table
    from condyle.workflows.check_inflation import check_inflation

    with bars() as tell:
        rows = check_inflation(
            encoder, weights=weights, depth=depth, keep_depth=keep_depth, out=out, tell=tell
        )
    show_table(f"{encoder}, 2D and 3D, on an input that is alike in every slice", rows)
    if out is not None:
        say(f"kernels drawn in {out}")
    return 1 if any("NOT" in row["verdict"] for row in rows) else 0


@app.command(name="import-weights")
def import_weights(
    files: list[Path],
    *,
    out: Path,
    network: str = "",
    unsafe_pickle: bool = False,
    model: str = "",
    fold: str = "",
) -> None:
    """Take the tensors out of a checkpoint into a safetensors file, with a table as .csv beside it.

    A trained nnU-Net becomes a run folder that `condyle segment` takes.

    Parameters
    ----------
    files
        A checkpoint (.pth, .pt, .ckpt, .safetensors), or the parts of one in their order; or the
        folder, or exported zip, of a trained nnU-Net.
    out
        The file to write, NAME.safetensors; of an nnU-Net, the run folder.
    network
        Also tell what each tensor would become in this network, unet-resnet34 say.
    unsafe_pickle
        Read a pickle that holds more than tensors, in a process of its own with limits. A pickle
        is a program: only those of people you trust.
    model
        Which of an nnU-Net's configurations: nnUNetTrainer__nnUNetPlans__3d_fullres.
    fold
        Which of an nnU-Net's folds; the first, if left out.
    """
    from condyle.app.cli.show import say, show_table
    from condyle.predict.nnunet_import import holds_nnunet, import_nnunet
    from condyle.workflows.import_weights import import_weights as run

    if len(files) == 1 and holds_nnunet(files[0]):
        made = import_nnunet(files[0], out, model=model, fold=fold)
        say(f"{made.name}, which finds {', '.join(made.scheme.names)}, written into {out}")
        return

    done = run(files, out, network=network, unsafe_pickle=unsafe_pickle)
    show_table("tensors", done.rows)
    say(f"{done.summary} (SHA-256 of what was read: {done.sha256})")


@app.command
def export(
    run: Path,
    *,
    to: Literal["openvino", "onnx"],
    precision: Literal["fp32", "int8"] = "fp32",
    calibrate: Path | None = None,
    out: Path | None = None,
) -> None:
    """Write a trained network for other programs, with a card that says how to use it.

    Parameters
    ----------
    run
        A run folder.
    precision
        int8 is faster and changes a few labels; `segment --runtime auto` takes it if they are few.
    calibrate
        The data set whose scans int8 is fitted to; the run's own, if left out.
    out
        Folder for the results; beside the run's weights, if left out.
    """
    from condyle.app.cli.show import bars, say
    from condyle.workflows.export import export as run_export

    with bars() as tell:
        written = run_export(
            run, to=to, precision=precision, calibrate=calibrate, out=out, tell=tell
        )
    say(f"{run} written for {to} into {written}")


@app.command
def networks(*, cost: bool = False) -> None:
    """List the networks that can be built, and whether their weights are here.

    Parameters
    ----------
    cost
        Add millions of parameters, and GFLOP for a slice of 256² pixels or a block of 96³ voxels.
    """
    from condyle.app.cli.show import show_table
    from condyle.workflows.doctor import network_rows

    show_table("networks", network_rows(cost))


@app.command
def presets() -> None:
    """List the studies whose settings are built in, for `condyle train DATASET --config NAME`."""
    from condyle.app.cli.show import show_table
    from condyle.config import presets as names
    from condyle.config import read_preset

    studies = {name: read_preset(name).study for name in names()}
    rows = [
        {"name": name, "title": study.title, "variants": ", ".join(study.variants)}
        for name, study in studies.items()
    ]
    show_table("presets", rows)


@app.command
def doctor() -> None:
    """Say what this machine has: processor, versions, weights, what runs fast."""
    from condyle.app.cli.show import show_table
    from condyle.workflows.doctor import doctor_rows

    show_table("this machine", doctor_rows())
