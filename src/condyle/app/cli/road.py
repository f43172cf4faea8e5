"""The verbs of the road: demo, import, check, plan, train, segment, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from condyle.app.cli.command import Out, Several, app
from condyle.errors import CondyleError


@app.command
def demo(*, out: Out = Path("demo"), budget: str = "5m") -> None:
    """The whole road on a phantom cohort, in minutes: data, training, held-out scores, surfaces.

    Parameters
    ----------
    budget
        Time for the training.
    """
    from condyle.app.cli.show import bars, show_summary
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
    from condyle.app.cli.show import bars, say
    from condyle.workflows.importing.import_scans import import_scans

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
    from condyle.app.cli.show import bars, show_findings
    from condyle.workflows.check import check as run

    with bars() as tell:
        findings = run(dataset, out=out, fix=fix, tell=tell)
    return show_findings(findings, dataset)


@app.command
def plan(
    dataset: Path,
    *,
    out: Path | None = None,
    network: str | None = None,
    config: str = "",
    variant: str = "",
    budget: str | None = None,
    epochs: int | None = None,
    fold: int | None = None,
    batch: int | None = None,
    weights: str | None = None,
    plane: Literal["axial", "sagittal", "coronal", "all"] | None = None,
    device: str | None = None,
) -> None:
    """Say what a training would do with these scans, this time and this machine, and why.

    Parameters
    ----------
    out
        A TOML file for the plan, to edit and to give to `condyle train --config`.
    config
        A TOML file with any of the settings, or a study of `condyle presets`; flags win over it.
    variant
        One of the study's variants.
    budget
        Time for everything, such as 15m or 2h, instead of epochs.
    """
    from condyle.app.cli.show import bars, say
    from condyle.config import Experiment
    from condyle.io import open_dataset, write_text
    from condyle.workflows.training.plan import plan as run

    settings = _settings(
        config,
        variant,
        {"dataset": str(dataset), "fold": fold, "device": device},
        network={"name": network, "weights": weights},
        training={"budget": budget, "epochs": epochs, "batch": batch},
    )
    experiment = Experiment.parse(settings, config or "the command line")
    with bars() as tell:
        made = run(experiment, open_dataset(dataset), plane=plane, tell=tell)
    text = "".join(f"# {reason}\n" for reason in made.reasons) + made.experiment.to_toml()
    if out:
        write_text(out, text)
    say(text)


@app.command
def train(
    dataset: Path | None = None,
    *,
    out: Out,
    network: str | None = None,
    config: str = "",
    variant: str = "",
    budget: str | None = None,
    epochs: int | None = None,
    fold: int | None = None,
    seed: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
    weights: str | None = None,
    plane: Literal["axial", "sagittal", "coronal", "all"] | None = None,
    inflation: Literal["average", "center", "scale", "acs"] | None = None,
    device: str | None = None,
    log: list[Literal["tensorboard", "mlflow"]] | None = None,
    resume: bool = False,
) -> None:
    """Train a segmenter on a data set's fold, and judge it on the cases held out.

    Parameters
    ----------
    network
        decoder-encoder, such as unet-resnet34 (`condyle networks` lists them); left out: what
        suits the scans and the time (`condyle plan` says what, and why). Or another program's:
        nnunet:2d, nnunet:3d_fullres, nnunet:resenc-m, totalsegmentator[:TASK] as it is, or
        totalsegmentator:finetune[:TASK].
    config
        A TOML file with any of the settings, or a study of `condyle presets`; flags win over it.
    variant
        One of the study's variants.
    budget
        Time for everything, such as 15m or 2h, instead of epochs.
    weights
        imagenet, none, a file, or the folder of an earlier run.
    plane
        Of the slices of a 2D network; all: one network learns the slices of all three.
    inflation
        How a pretrained 2D network becomes the 3D one, where --network begins with 3d:.
    log
        Who is told of epochs and scores: tensorboard (in the run folder), mlflow (in mlruns
        beside it); may be given twice.
    resume
        Go on with the interrupted training in --out, if there is one.
    """
    from condyle.app.cli.show import bars, show_summary
    from condyle.config import Experiment, read_toml
    from condyle.workflows.training.train import train as run

    settings = _settings(
        config,
        variant,
        {"dataset": str(dataset) if dataset else None, "fold": fold, "device": device, "log": log},
        network={"name": network, "weights": weights},
        inflation={"strategy": inflation},
        training={"budget": budget, "epochs": epochs, "seed": seed, "batch": batch, "rate": rate},
    )
    if "dataset" not in settings and resume and (out / "config.toml").is_file():
        settings = read_toml(out / "config.toml")
    if "dataset" not in settings:
        raise CondyleError("give a data set: condyle train DATASET --out RUN")
    experiment = Experiment.parse(settings, config or "the command line")
    with bars() as tell:
        done = run(experiment, out, plane=plane, resume=resume, tell=tell)
    if done.summary:
        show_summary(done.summary, out / "report.html")


def _settings(
    config: str,
    variant: str,
    top: dict[str, Any],
    network: dict[str, Any],
    training: dict[str, Any],
    inflation: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings of a TOML file or a preset, and those flags that were given, which win."""
    from condyle.config import merged, read_preset

    if variant and not config:
        raise CondyleError("--variant is one of a study: name it by --config (`condyle presets`)")
    settings = read_preset(config).settings_of(variant) if config else {}
    flags: dict[str, Any] = {k: v for k, v in top.items() if v is not None}
    network = {**network, "inflation": {k: v for k, v in (inflation or {}).items() if v}}
    for section, values in (("network", network), ("training", training)):
        given = {name: value for name, value in values.items() if value not in (None, {})}
        flags |= {section: given} if given else {}
    return merged(settings, flags)


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
    area: Literal["whole", "auto"] = "whole",
    planes: Literal["axial", "sagittal", "coronal", "all"] | None = None,
    flips: Literal["none", "left-right", "all"] = "none",
    runtime: Literal["auto", "torch", "openvino"] = "auto",
    also: Several | None = None,
    specialist: Path | None = None,
    raw: bool = False,
    quality: bool = False,
    resume: bool = False,
) -> int:
    """Segment scans; each result lies on its scan's own grid.

    Parameters
    ----------
    run
        The --out folder of `condyle train`.
    scans
        Files, DICOM folders, zips, folders of these, a .txt list of them, or a data set.
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
    area
        auto: a first look at a few slices finds those that are then looked at closely.
    planes
        Of the slices of a 2D network; all: the answers of the three planes are joined.
    flips
        Look at mirror images of the scan as well, and join the answers.
    runtime
        What computes; auto: the fastest whose labels are those of PyTorch in float32.
    also
        The --out folders of other runs (folds, seeds, planes), whose answers are joined.
    specialist
        The --out folder of a run trained on the ends of bones (training.hard_slices): it answers
        there.
    raw
        Leave out the cleaning that `condyle refine --choose` has chosen.
    quality
        Write quality.csv: how far to trust each result (`condyle quality RUN` comes first).
    resume
        Leave out the scans that an interrupted batch into --out has finished.
    """
    from condyle.app.cli.show import bars, show_segmented
    from condyle.workflows.segment import segment as go

    with bars() as tell:
        done = go(
            run, scans, out, fold=fold, format=format, device=device, volume=volume,
            series=series, slices=slices, near_slice=near_slice, area=area, planes=planes,
            flips=flips, runtime=runtime, also=also or [], specialist=specialist, raw=raw,
            quality=quality, resume=resume, tell=tell,
        )  # fmt: skip
    return show_segmented(done, out)


@app.command
def evaluate(
    predictions: Path,
    labels: Path,
    *,
    out: Out,
    fold: int | None = None,
    tolerance_mm: float = 2.0,
) -> None:
    """Score predictions against the truth, case by case and structure by structure.

    Parameters
    ----------
    predictions
        A folder of label maps (or one file), named as the cases.
    labels
        The true label maps: a folder, a file, or a data set.
    fold
        Only the held-out cases of this fold of the data set.
    tolerance_mm
        How far apart surfaces may lie to agree, for NSD.
    """
    from condyle.app.cli.show import bars, show_summary
    from condyle.workflows.evaluate import evaluate as run

    with bars() as tell:
        summary = run(predictions, labels, out, fold=fold, tolerance_mm=tolerance_mm, tell=tell)
    show_summary(summary, out / "metrics.csv")
