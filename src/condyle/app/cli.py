"""The command line: `condyle VERB ...`. Says one sentence when something is wrong; exits 2 or 1."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

import condyle
from condyle.errors import CondyleError

__all__ = ["app", "main"]

app = App(
    name="condyle",
    help="Segmentations of CT and MRI that can be trusted, from a handful of labelled scans.",
    version=condyle.__version__,
    help_format="plaintext",
)

HUNGRY = {"train", "segment", "demo"}
"""Verbs that run with the allocator settings of `condyle.launch`."""

Out = Annotated[Path, Parameter(help="Folder for the results.")]
Several = Annotated[list[Path], Parameter(consume_multiple=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 the user can mend it, 1 we must, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    if given and given[0] in HUNGRY:
        from condyle.launch import restart_with_roomy_allocator

        restart_with_roomy_allocator(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_run(given, debug))


def _run(given: list[str], debug: bool) -> int:
    """The exit code of a command."""
    from condyle.app.show import complain, reporting

    try:
        with reporting():
            done = app(given, exit_on_error=False, print_error=False, result_action="return_value")
        return done if isinstance(done, int) else 0
    except (CondyleError, CycloptsError) as error:
        if debug:
            raise
        complain(str(error))
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        complain("interrupted; what was finished is kept")
        return 130
    except Exception as error:
        if debug:
            raise
        complain(
            f"this is a mistake in Condyle, not in your data ({type(error).__name__}: {error}); "
            "run it again with --debug and send us what it prints"
        )
        return 1


@app.command
def demo(*, out: Out = Path("demo"), budget: str = "5m") -> None:
    """The whole road on a phantom cohort, in minutes: data, training, held-out scores, surfaces.

    Parameters
    ----------
    budget
        Time for the training.
    """
    from condyle.app.show import bars, show_summary
    from condyle.workflows.demo import demo as run

    with bars() as tell:
        done = run(out, budget=budget, tell=tell)
    show_summary(done.summary, done.report)


@app.command(name="import")
def import_(
    scans: list[Path],
    *,
    masks: Several | None = None,
    out: Out,
    scheme: str = "",
    overlap: Literal["background", "priority", "error"] = "error",
    patients: str = "",
    split: str = "",
    seed: int = 0,
    area: Literal["whole", "labelled"] = "whole",
    volume: int | None = None,
    series: str = "",
) -> None:
    """Turn scans and their masks, or a data set of another layout, into one to train on.

    Parameters
    ----------
    scans
        Files, DICOM folders or zips; or one data set folder, and no masks.
    masks
        A folder of one scan's masks (tibia.nii.gz, R_femur.nrrd, ...), a folder with one such
        folder, or one label map, a scan, matched by base name, or label map files.
    scheme
        lower-limb, knee, or a JSON file {"name": number}; left out: the names found.
    overlap
        What happens to a voxel that two masks claim.
    patients
        A .csv table of case and patient, or a pattern for case names: '(.+)_(left|right)'.
    split
        24/8/8, 5-fold or leave-one-out, by patient.
    seed
        Of the split.
    area
        labelled: keep only the axial slices that carry labels, and a few more.
    volume
        Which volume of files that hold several, from 0.
    series
        Which series of DICOM folders that hold several.
    """
    from condyle.app.show import bars, say
    from condyle.workflows.imports import import_scans

    with bars() as tell:
        done = import_scans(
            scans,
            masks or [],
            out,
            scheme=scheme,
            overlap=overlap,
            patients=patients,
            split=split,
            seed=seed,
            area=area,
            volume=volume,
            series=series,
            tell=tell,
        )
    say(done)


@app.command
def check(dataset: Path, *, out: Path | None = None, fix: Path | None = None) -> int:
    """Say what is wrong with a data set before a night of training is lost.

    Parameters
    ----------
    out : a folder that gets check.html: the findings and a picture of each case.
    fix : a new folder that gets a copy: mended where that is safe, else without the case.
    """
    from condyle.app.show import bars, show_findings
    from condyle.workflows.check import check as run

    with bars() as tell:
        findings = run(dataset, out=out, fix=fix, tell=tell)
    return show_findings(findings, dataset)


@app.command
def train(
    dataset: Path | None = None,
    *,
    out: Out,
    network: str | None = None,
    config: Path | None = None,
    budget: str | None = None,
    epochs: int | None = None,
    fold: int | None = None,
    seed: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
    weights: str | None = None,
    plane: Literal["axial", "sagittal", "coronal"] | None = None,
    inflation: Literal["average", "center", "scale", "acs"] | None = None,
    device: str | None = None,
    resume: bool = False,
) -> None:
    """Train a segmenter on a data set's fold, and judge it on the cases held out.

    Parameters
    ----------
    network
        decoder-encoder, such as unet-resnet34; `condyle networks` lists them.
    config
        A TOML file with any of the settings; flags win over it.
    budget
        Time for everything, such as 15m or 2h, instead of epochs.
    weights
        imagenet, none, a file, or the folder of an earlier run.
    plane
        Of the slices of a 2D network.
    inflation
        How a pretrained 2D network becomes the 3D one, where --network begins with 3d:.
    resume
        Go on with the interrupted training in --out.
    """
    from condyle.app.show import bars, show_summary
    from condyle.config import Experiment, read_toml
    from condyle.workflows.train import train as run

    settings: dict[str, Any] = read_toml(config) if config else {}
    flags: dict[str, dict[str, Any]] = {
        "": {"dataset": str(dataset) if dataset else None, "fold": fold, "device": device},
        "network": {"name": network, "weights": weights},
        "training": {
            "budget": budget,
            "epochs": epochs,
            "seed": seed,
            "batch": batch,
            "rate": rate,
        },
    }
    if inflation:
        settings.setdefault("network", {}).setdefault("inflation", {})["strategy"] = inflation
    for section, values in flags.items():
        target = settings.setdefault(section, {}) if section else settings
        target.update({k: v for k, v in values.items() if v is not None})
    if "dataset" not in settings and resume and (out / "config.toml").is_file():
        settings = read_toml(out / "config.toml")
    if "dataset" not in settings:
        raise CondyleError("give a data set: condyle train DATASET --out RUN")
    experiment = Experiment.parse(settings, str(config or "the command line"))
    with bars() as tell:
        done = run(experiment, out, plane=plane, resume=resume, tell=tell)
    show_summary(done.summary, out / "report.html")


@app.command
def segment(
    run: Path,
    scans: list[Path],
    *,
    out: Out,
    fold: int | None = None,
    format: Literal["nifti", "nrrd", "mha", "dicom-seg"] = "nifti",
    device: str = "auto",
    volume: int | None = None,
    series: str = "",
    slices: str = "",
    near_slice: int | None = None,
) -> int:
    """Segment scans; each result lies on its scan's own grid.

    Parameters
    ----------
    run
        The --out folder of `condyle train`.
    scans
        Files, DICOM folders, zips, folders of these, or a data set (with --fold).
    fold
        Only the held-out cases of this fold of a data set.
    format
        Of the label maps. DICOM-SEG is for DICOM scans, and carries the patient's identification.
    volume
        Which volume of a file that holds several, from 0.
    series
        Which series of a DICOM folder that holds several: its number in the list, or its UID.
    slices
        FIRST:LAST: look only at these slices between feet and head; either may be left out.
    near_slice
        Look only around this slice, as far as the labels of the training scans reached.
    """
    from condyle.app.show import bars, show_segmented
    from condyle.workflows.segment import segment as go

    with bars() as tell:
        done = go(
            run, scans, out, fold=fold, format=format, device=device, volume=volume,
            series=series, slices=slices, near=near_slice, tell=tell,
        )  # fmt: skip
    return show_segmented(done, out)


@app.command
def refine(
    labelmaps: list[Path],
    *,
    out: Out,
    keep_largest: int = 0,
    min_mm3: float = 0.0,
    fill_holes: bool = False,
    slice_ratio: float = 0.0,
) -> None:
    """Clean label maps, structure by structure.

    Parameters
    ----------
    keep_largest
        Keep only so many connected parts of each structure; 0 keeps all.
    min_mm3
        Drop parts smaller than this volume in mm³.
    fill_holes
        Fill what a structure encloses.
    slice_ratio
        Slice by slice: fill holes, and drop specks below this part of the structure's pixels there.
    """
    from condyle.app.show import bars, say
    from condyle.refine import Refinement
    from condyle.workflows.refine import refine as run

    steps = Refinement(
        keep_largest=keep_largest, min_mm3=min_mm3, fill_holes=fill_holes, slice_ratio=slice_ratio
    )
    with bars() as tell:
        written = run(labelmaps, out, steps, tell=tell)
    say(f"{len(written)} label maps refined into {out}")


@app.command
def evaluate(predictions: Path, labels: Path, *, out: Out, fold: int | None = None) -> None:
    """Score predictions against the truth, case by case and structure by structure.

    Parameters
    ----------
    predictions
        A folder of label maps (or one file), named as the cases.
    labels
        The true label maps: a folder, a file, or a data set.
    fold
        Only the held-out cases of this fold of the data set.
    """
    from condyle.app.show import bars, show_summary
    from condyle.workflows.judge import evaluate as run

    with bars() as tell:
        summary = run(predictions, labels, out, fold=fold, tell=tell)
    show_summary(summary, out / "metrics.csv")


@app.command
def mesh(
    labelmaps: list[Path],
    *,
    out: Out,
    format: Literal["ply", "stl", "obj", "glb"] = "ply",
    smooth: bool = True,
) -> None:
    """Turn label maps into surfaces in RAS millimetres: one file a structure, and one of all."""
    from condyle.app.show import bars, say
    from condyle.workflows.mesh import mesh as run

    with bars() as tell:
        written = run(labelmaps, out, format=format, smooth=smooth, tell=tell)
    say(f"{len(written)} surfaces written into {out}")


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
    from condyle.app.show import bars, say, show_table
    from condyle.workflows.inflation import check_inflation

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
    files: list[Path], *, out: Out, network: str = "", unsafe_pickle: bool = False
) -> None:
    """Take the tensors out of a checkpoint into a safetensors file, with a table as .csv beside it.

    Parameters
    ----------
    files
        A checkpoint (.pth, .pt, .ckpt, .safetensors), or the parts of one in their order.
    out
        The file to write, NAME.safetensors.
    network
        Also tell what each tensor would become in this network, unet-resnet34 say.
    unsafe_pickle
        Read a pickle that holds more than tensors, in a process of its own with limits. A pickle
        is a program: only those of people you trust.
    """
    from condyle.app.show import say, show_table
    from condyle.workflows.weights import import_weights as run

    done = run(files, out, network=network, unsafe_pickle=unsafe_pickle)
    show_table("tensors", done.rows)
    say(f"{done.summary} (SHA-256 of what was read: {done.sha256})")


@app.command
def networks(*, cost: bool = False) -> None:
    """List the networks that can be built, and whether their weights are here.

    Parameters
    ----------
    cost
        Add millions of parameters, and GFLOP for a slice of 256² pixels or a block of 96³ voxels.
    """
    from condyle.app.show import show_table
    from condyle.workflows.doctor import network_rows

    show_table("networks", network_rows(cost))


@app.command
def doctor() -> None:
    """Say what this machine has: processor, versions, weights, what runs fast."""
    from condyle.app.show import show_table
    from condyle.workflows.doctor import doctor_rows

    show_table("this machine", doctor_rows())
