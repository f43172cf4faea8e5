"""A trained nnU-Net, folder or zip, made into a segmenter of ours."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

from condyle.core import LabelScheme
from condyle.errors import UnknownName, WeightsError
from condyle.io.zip import unpacked
from condyle.jobs.job import warn
from condyle.networks.nnunet import NnunetNetwork, architecture_of, read_checkpoint
from condyle.predict.nnunet import NORMALIZATIONS, NnunetPlan, NnunetPreprocessing
from condyle.predict.segmenter import Segmenter
from condyle.predict.training_record import Three, TrainingRecord, modality_of

__all__ = ["holds_nnunet", "import_nnunet", "segmenter_of"]


CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
READERS = {"SimpleITKIO": "file", "NibabelIO": "file", "NibabelIOWithReorient": "RAS"}
"""nnU-Net's readers of medical files -> the axes that they give."""

Json = dict[str, Any]


def holds_nnunet(path: Path) -> bool:
    """Whether a path is a folder, or a zip, as nnU-Net's models are."""
    return path.is_dir() or path.suffix == ".zip"


def import_nnunet(source: Path, out: Path, *, model: str = "", fold: str = "") -> Segmenter:
    """Write a trained nnU-Net as a segmenter into the folder `out`; gives the segmenter.

    Parameters
    ----------
    source : a model's folder, with plans.json and dataset.json, a folder that holds one, or a zip
        of nnUNetv2_export_model_to_zip.
    model : the name of one, where there are several: nnUNetTrainer__nnUNetPlans__3d_fullres, with
        its data set's before it where that is needed: Dataset001_knees/nnUNetTrainer__...
    fold : 0, 1, ... or all; '': the first there is.

    Raises
    ------
    WeightsError
        If there is none, or it is of a kind that is not read.
    """
    with _opened(Path(source)) as folder:
        found = segmenter_of(_model_in(folder, model, source), fold)
    found.save(Path(out) / "segmenter")
    return found


def segmenter_of(
    home: Path, fold: str = "", scheme: LabelScheme | None = None, turned: bool = False
) -> Segmenter:
    """The segmenter of nnU-Net's model in a folder.

    Parameters
    ----------
    scheme : what the classes 1, 2, ... are called, where that is not as dataset.json has it.
    turned : whether it was trained on scans turned to RAS axes, whatever its plans say.
    """
    plans, facts = _json(home / "plans.json"), _json(home / "dataset.json")
    file = _checkpoint(home, fold)
    content = read_checkpoint(file)
    name = str(content["init_args"]["configuration"])
    plan = plan_of(plans, name, content.get("inference_allowed_mirroring_axes"), home)
    if turned:
        plan = plan.changed(axes="RAS")
    scheme = scheme or _scheme(facts, home)
    channels = len(facts.get("channel_names") or facts["modality"])
    network = NnunetNetwork(plan.architecture, channels, len(scheme) + 1)
    network.load(content["network_weights"], file)
    return Segmenter(
        name=f"nnunet:{name}",
        network=network,
        preprocessor=NnunetPreprocessing(plan=plan),
        scheme=scheme,
        channels=channels,
        training=TrainingRecord(
            weights=f"nnU-Net: {home.name}, {file.parent.name}, {file.name}",
            trainer=content["trainer_name"],
            dataset=plans.get("dataset_name", ""),
            modality=modality_of(_first_channel(facts)),
            hounsfield=plan.normalization[:1] == ("CTNormalization",) or None,
            spacing=_spacings(plan),
        ),
    )


def _spacings(plan: NnunetPlan) -> tuple[Three, Three]:
    """The plan's smallest and largest spacing in mm, for each axis: it names no RAS axes."""
    least, most = min(plan.spacing), max(plan.spacing)
    return (least, least, least), (most, most, most)


def _first_channel(facts: Json) -> str:
    """What dataset.json calls the first channel of a scan."""
    return str(next(iter((facts.get("channel_names") or facts["modality"]).values()), ""))


def plan_of(plans: Json, name: str, mirror: Any, home: Path) -> NnunetPlan:
    """What the plans of a model say of one configuration."""
    configuration = _configuration(plans, name)
    reader = plans.get("image_reader_writer", "")
    schemes = tuple(configuration["normalization_schemes"])
    resampling = configuration.get("resampling_fn_data_kwargs", {})
    functions = {configuration.get(f"resampling_fn_{x}", USUAL) for x in ("data", "probabilities")}
    unread = {
        "the reader": {reader} - set(READERS),
        "normalization": set(schemes) - set(NORMALIZATIONS),
        "resampling": functions - {USUAL},
        "the preprocessor": {configuration.get("preprocessor_name")} - {"DefaultPreprocessor"},
        "a cascade after": {configuration.get("previous_stage")} - {None},
    }
    for what, names in unread.items():
        if names:
            raise WeightsError(
                f"{home} needs {what} {', '.join(map(str, names))}, which cannot be imported: "
                "predict with nnU-Net itself"
            )
    known = plans["foreground_intensity_properties_per_channel"]
    return NnunetPlan.model_validate(
        {
            "architecture": architecture_of(configuration),
            "spacing": configuration["spacing"],
            "patch": configuration["patch_size"],
            "turn": plans["transpose_forward"],
            "normalization": schemes,
            "masked": configuration["use_mask_for_norm"],
            "intensities": [known[str(n)] for n in range(len(schemes))],
            "orders": (resampling.get("order", 3), resampling.get("order_z", 0)),
            "separate": resampling.get("force_separate_z"),
            "axes": READERS[reader],
            "mirror": mirror or (),
        }
    )


USUAL = "resample_data_or_seg_to_shape"


def _configuration(plans: Json, name: str) -> Json:
    """A configuration with what it inherits."""
    own = cast(Json, plans["configurations"][name])
    if "inherits_from" not in own:
        return own
    return {**_configuration(plans, own["inherits_from"]), **own}


def _scheme(facts: Json, home: Path) -> LabelScheme:
    """The structures of dataset.json, numbered as its classes are."""
    labels: dict[str, Any] = dict(facts["labels"])
    if any(not isinstance(number, int) for number in labels.values()):
        raise WeightsError(
            f"{home} has overlapping regions, which cannot be imported: predict with nnU-Net itself"
        )
    scheme = LabelScheme.of(labels)
    if scheme.ids != tuple(range(1, len(scheme) + 1)):
        raise WeightsError(f"{home / 'dataset.json'} has labels that are not 1, 2, 3, ...")
    return LabelScheme(scheme.labels)


@contextlib.contextmanager
def _opened(source: Path) -> Generator[Path]:
    """The folder, or that of a zip's files while they are needed."""
    if source.suffix == ".zip" and source.is_file():
        with unpacked(source) as folder:
            yield folder
    elif source.is_dir():
        yield source
    else:
        raise WeightsError(f"{source} is neither a folder nor a zip of nnU-Net's")


def _model_in(folder: Path, name: str, source: Path) -> Path:
    """The one model in a folder, or that of this name or path in it."""
    homes = [path.parent for path in sorted(folder.rglob("plans.json"))]
    found = {
        folder.name if home == folder else home.relative_to(folder).as_posix(): home
        for home in homes if any(home.glob("fold_*"))
    }  # fmt: skip
    if not found:
        raise WeightsError(f"{source} holds no model of nnU-Net: plans.json and fold_0 beside it")
    wanted = [path for path in found if not name or f"/{path}".endswith(f"/{name}")]
    if not wanted:
        raise UnknownName("model", name, {Path(path).name for path in found})
    if len(wanted) > 1:
        raise WeightsError(
            f"{source} holds several models, give one by `model`: {', '.join(wanted)}"
        )
    return found[wanted[0]]


def _checkpoint(home: Path, fold: str) -> Path:
    """The file of weights of a fold."""
    folds = {p.name.removeprefix("fold_"): p for p in sorted(home.glob("fold_*"))}
    if fold and fold not in folds:
        raise UnknownName("fold", fold, folds)
    if not fold and len(folds) > 1:
        warn(
            f"{home.name} has folds {', '.join(folds)}: the first is imported; import the "
            "others too, and combine them by `also`"
        )
    chosen = folds[fold or next(iter(folds))]
    for name in CHECKPOINTS:
        if (chosen / name).is_file():
            return chosen / name
    raise WeightsError(f"{chosen} holds no {CHECKPOINTS[0]}: is the training finished?")


def _json(path: Path) -> Json:
    try:
        return cast(Json, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error})") from error
