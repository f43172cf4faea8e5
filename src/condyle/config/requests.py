"""What can be asked of each verb: one frozen model a verb.

The command line, Python, and whatever sends work elsewhere use the same requests. A field's
description is the help of its flag. `POSITIONAL` fields need no flag.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from condyle.config.choices import (
    ExportFormat,
    ExportPrecision,
    FeatureMode,
    FeaturePool,
    Flips,
    ImportArea,
    InflationStrategy,
    LabelFormat,
    MeshFormat,
    MeshSpace,
    Overlap,
    Planes,
    RunSort,
    Runtime,
    SegmentArea,
    Tracker,
)
from condyle.config.experiment import Experiment
from condyle.config.presets import read_preset
from condyle.config.request import BatchRequest, Request
from condyle.config.section import merged
from condyle.errors import ConfigError

__all__ = [
    "CheckInflationRequest",
    "CheckRequest",
    "CompareRequest",
    "DemoRequest",
    "DoctorRequest",
    "EvaluateRequest",
    "ExportRequest",
    "FeaturesRequest",
    "ImportRequest",
    "ImportWeightsRequest",
    "MeshRequest",
    "NetworksRequest",
    "PlanRequest",
    "PresetsRequest",
    "QualityRequest",
    "RefineRequest",
    "Request",
    "RunsRequest",
    "SegmentRequest",
    "SettingsRequest",
    "TrainRequest",
]

Out = Path
Paths = tuple[Path, ...]


class DemoRequest(Request):
    """The whole road on phantoms, in minutes: data, training, test scores, surfaces."""

    out: Out = Path("demo")
    """Folder for the results."""
    budget: str = "5m"
    """Time for the training."""


class ImportRequest(BatchRequest):
    """Turn scans and their masks, or a data set of another layout, into one to train on."""

    POSITIONAL = ("scans",)
    scans: Annotated[Paths, Field(min_length=1)]
    """Files, DICOM folders or zips; or one data set folder, and no masks."""
    masks: Paths = ()
    """A folder of one scan's masks (tibia.nii.gz, R_femur.nrrd, ...), a folder with one such
    folder, or one label map, a scan, matched by base name, or label map files."""
    out: Out
    """New folder for the data set."""
    scheme: str = ""
    """lower-limb, knee, or a JSON file {"name": number}; left out: the names found."""
    overlap: Overlap = "error"
    """What becomes of a voxel that two masks claim: background, the first mask's (priority), or
    an error."""
    patients: str = ""
    """A .csv table of case and patient, or a pattern for case names: '(.+)_(left|right)'."""
    split: str = ""
    """24/8/8, 5-fold or leave-one-out, by patient."""
    seed: int = 0
    """Of the split."""
    area: ImportArea = "whole"
    """labelled: keep only the axial slices that carry labels, and a few more."""
    volume: int | None = None
    """Which volume of files that hold several, from 0."""
    series: str = ""
    """Which series of DICOM folders that hold several: its number in the list, or its UID."""


class CheckRequest(Request):
    """Check a data set for problems before training."""

    POSITIONAL = ("dataset",)
    dataset: Path
    """The data set's folder."""
    out: Out | None = None
    """A folder for check.html: the findings, and a picture of each case."""
    fix: Path | None = None
    """A new folder for a copy: repaired where that is safe, else without the case."""


class SettingsRequest(Request):
    """Settings of a training: a preset or TOML file, and the flags that win over it."""

    POSITIONAL = ("dataset",)
    NO_FLAG = ("settings",)
    dataset: Path | None = None
    """The data set's folder."""
    config: str = ""
    """A TOML file with any of the settings, or a preset of `condyle presets`; flags win over it."""
    variant: str = ""
    """One of the preset's variants."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Any settings of `config.toml`, nested; they win over `config`."""
    network: str | None = None
    """decoder-encoder, such as unet-resnet34 (`condyle networks` lists them); left out: what suits
    the scans and the time (`condyle plan` says what, and why). Or another program's: nnunet:2d,
    nnunet:3d_fullres, nnunet:resenc-m, totalsegmentator[:TASK] as it is, or
    totalsegmentator:finetune[:TASK]."""
    budget: str | None = None
    """Time for everything, such as 15m or 2h, instead of epochs."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Rounds of training, instead of a budget."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Which fold of the data set's splits is trained on; 0 if left out."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Of all random numbers."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Samples a step; left out: as many as suit the time and the memory."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Learning rate."""
    weights: str | None = None
    """imagenet, none, a file, or the folder of an earlier run."""
    plane: Planes | None = None
    """Plane of the slices of a 2D network; all: one network learns the slices of all three."""
    inflation: InflationStrategy | None = None
    """How a pretrained 2D network becomes the 3D one, where `network` begins with 3d:."""
    device: str | None = None
    """auto, cpu, cuda or mps."""
    log: tuple[Tracker, ...] | None = None
    """Experiment trackers to log to: tensorboard (in the run folder), mlflow (in mlruns beside
    it); may be given twice."""

    SHORT: ClassVar[dict[str, str]] = {
        "dataset": "dataset",
        "fold": "fold",
        "device": "device",
        "log": "log",
        "network": "network.name",
        "weights": "network.weights",
        "inflation": "network.inflation.strategy",
        "budget": "training.budget",
        "epochs": "training.epochs",
        "seed": "training.seed",
        "batch": "training.batch",
        "rate": "training.rate",
    }
    """Field -> the setting of an experiment that it stands for."""

    def asked(self) -> dict[str, Any]:
        """The settings that are given: the preset's or file's, then `settings`, then the fields."""
        if self.variant and not self.config:
            raise ConfigError(
                "`variant` is one of a preset's: name the preset by `config` (condyle presets "
                "lists them)",
                setting="variant",
            )
        if self.budget and self.epochs:
            raise ConfigError("give either `budget` or `epochs`, not both", setting="budget")
        start = read_preset(self.config).settings_of(self.variant) if self.config else {}
        fields: dict[str, Any] = {}
        for name, setting in self.SHORT.items():
            value = getattr(self, name)
            if value is not None:
                value = str(value) if isinstance(value, Path) else value
                fields = merged(fields, _nested(setting.split("."), value))
        return merged(merged(start, self.settings), fields)

    def named(self) -> list[str]:
        """The settings that are given by fields of their own, whatever their values."""
        return [long for name, long in self.SHORT.items() if getattr(self, name) is not None]

    def experiment(self) -> Experiment:
        """The experiment that the settings make.

        Raises
        ------
        ConfigError
            If a setting is unknown or has a wrong value, or no data set is given.
        """
        settings = self.asked()
        if "dataset" not in settings:
            raise ConfigError("give a data set: its folder, or `dataset` in the settings")
        made = Experiment.parse(settings, self.config or "the settings")
        if made.training.epochs and made.training.budget:
            raise ConfigError("give either `budget` or `epochs`, not both", setting="budget")
        return made


def _nested(names: list[str], value: Any) -> dict[str, Any]:
    for name in reversed(names):
        value = {name: value}
    return value


class PlanRequest(SettingsRequest):
    """Show the network, patch and batch size that `train` would choose, with reasons."""

    out: Out | None = None
    """A TOML file for the plan, to edit and to give to `condyle train --config`."""


class TrainRequest(SettingsRequest):
    """Train a segmenter on a data set's fold, and score it on the test cases."""

    out: Out
    """The run folder."""
    resume: bool = False
    """Go on with the interrupted training in the run folder, if there is one."""

    @classmethod
    def of(cls, experiment: Experiment, out: Path, **more: Any) -> Self:
        """A request for an experiment."""
        settings = experiment.model_dump(mode="json", exclude_none=True)
        return cls(settings=settings, out=Path(out), **more)

    @property
    def is_bare(self) -> bool:
        """Whether nothing is given but the run folder: an interrupted run goes on as it was."""
        return not self.given().keys() - {"out", "resume"}


class SegmentRequest(BatchRequest):
    """Segment scans; each result lies on its scan's own grid."""

    POSITIONAL = ("run", "scans")
    run: Path
    """The run folder of `condyle train`."""
    scans: Annotated[Paths, Field(min_length=1)]
    """Files, DICOM folders, zips, folders of these, a .txt list of them, or a data set."""
    out: Out
    """Folder for the label maps."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Only the test cases of this fold of a data set."""
    format: LabelFormat = "nifti"
    """Of the label maps. DICOM-SEG is for DICOM scans, and carries the patient's identification."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    volume: Annotated[int, Field(ge=0)] | None = None
    """Which volume of a file that holds several, from 0."""
    series: str = ""
    """Which series of a DICOM folder that holds several: its number in the list, or its UID."""
    slices: str = ""
    """FIRST:LAST: segment only these slices between feet and head, counted from 0; either may be
    left out."""
    near_slice: int | None = None
    """Segment only near this slice, over the longest labelled extent seen in training."""
    area: SegmentArea = "whole"
    """auto: a first, coarse prediction finds the slices that are then segmented in full."""
    planes: Planes | None = None
    """Plane of the slices of a 2D network; all: predictions in all three are averaged."""
    flips: Flips = "none"
    """Predict on mirror images of the scan as well, and average."""
    runtime: Runtime = "auto"
    """What computes; auto: the fastest whose labels are those of PyTorch in float32."""
    also: Paths = ()
    """Ensemble with these runs (probabilities are averaged): their run folders."""
    specialist: Path | None = None
    """Use this run's predictions near bone ends: the folder of a run trained with
    training.hard_slices."""
    raw: bool = False
    """Leave out the post-processing that `condyle refine --choose` has chosen."""
    quality: bool = False
    """Write quality.csv: how far to trust each result (`condyle quality RUN` comes first)."""
    backends: dict[str, str] = Field(default_factory=dict)
    """What computes each network, by the hash of its weights; chosen where it is not given."""
    NO_FLAG = ("backends",)
    ELSEWHERE = ("out", "on", "resume", "backends")


class RefineRequest(BatchRequest):
    """Clean label maps, structure by structure; or choose the cleaning for a segmenter."""

    POSITIONAL = ("labelmaps",)
    labelmaps: Annotated[Paths, Field(min_length=1)]
    """Files, or folders of them; with `choose`, the data set of the training."""
    out: Out | None = None
    """Folder for the cleaned label maps."""
    keep_largest: Annotated[int, Field(ge=0)] = 0
    """Keep only so many connected parts of each structure; 0 keeps all."""
    min_mm3: Annotated[float, Field(ge=0)] = 0.0
    """Drop parts smaller than this volume in mm³."""
    fill_holes: bool = False
    """Fill what a structure encloses."""
    slice_ratio: Annotated[float, Field(ge=0)] = 0.0
    """Slice by slice: fill holes, and drop specks below this part of the structure's
    pixels there."""
    smooth_mm: Annotated[float, Field(ge=0)] = 0.0
    """Smooth structures by a Gaussian of this standard deviation in mm."""
    steps: Path | None = None
    """Instead of flags: a TOML file of such settings, and tables [structures.NAME] of those that
    a structure gets instead."""
    choose: Path | None = None
    """The run folder of a training: its validation cases decide which steps raise Dice, and its
    segmenter keeps them."""
    device: str = "auto"
    """With `choose`: auto, cpu, cuda or mps."""


class EvaluateRequest(BatchRequest):
    """Score predictions against the truth, case by case and structure by structure."""

    POSITIONAL = ("predictions", "labels")
    predictions: Path
    """A folder of label maps (or one file), named as the cases."""
    labels: Path
    """The true label maps: a folder, a file, or a data set."""
    out: Out
    """Folder for the tables."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Only the test cases of this fold of the data set."""
    tolerance_mm: Annotated[float, Field(gt=0)] = 2.0
    """How far apart surfaces may lie to agree, for the normalised surface Dice (NSD)."""


class CompareRequest(BatchRequest):
    """Train several networks on the same folds; rank them, and test whether they truly differ."""

    POSITIONAL = ("experiment",)
    experiment: Path
    """A TOML file: dataset, folds, seeds, [settings] for all, and a table [models.NAME] each."""
    out: Out
    """Folder for the runs, tables and report.html. Given again, an interrupted comparison goes
    on, and no finished training is repeated."""
    resume: bool = True
    """A comparison always goes on with what is finished."""
    NO_FLAG = ("resume",)


class MeshRequest(BatchRequest):
    """Turn label maps into surfaces in millimetres: one file a structure, and one of all."""

    POSITIONAL = ("labelmaps",)
    labelmaps: Annotated[Paths, Field(min_length=1)]
    """Files, or folders of them."""
    out: Out
    """Folder for the surfaces."""
    format: MeshFormat = "ply"
    """STL has no colours; OBJ has them in a .mtl file beside it."""
    space: MeshSpace = "ras"
    """Axes of the coordinates: to the right, front and head (ras), or to the left, back and head
    (lps), as in DICOM and ITK. The files say which."""
    smooth: bool = True
    """Smooth the voxels' stairs; the volume stays."""
    error_mm: Annotated[float, Field(ge=0, le=10)] = 0.1
    """How far a surface may move to need fewer triangles, 0 to 10 mm; 0 keeps all triangles."""


class FeaturesRequest(BatchRequest):
    """Compare the regions of scans by the features of a network of photographs, inflated to 3D."""

    POSITIONAL = ("scan", "labelmap")
    scan: Path
    """A scan; a folder of scans; or a data set, which has its label maps in it."""
    labelmap: Path | None = None
    """The scan's label map; or a folder of label maps that are called as the scans."""
    out: Out
    """The table to write, NAME.csv. Beside it: how it was made (.json), the features (.npz), a
    heat map (.png), how alike random regions are (_random.csv), and a page of all (.html)."""
    encoder: str = "densenet121"
    """Which of the encoders of `condyle networks`."""
    inflation: InflationStrategy = "average"
    """How its 2D kernels become 3D."""
    weights: str = "imagenet"
    """imagenet, none, a file, or the folder of a training."""
    regions: tuple[str, ...] = ()
    """Structures to compare, and background; all of them, if left out."""
    mode: FeatureMode = "volume"
    """volume: each region in the whole scan, air everywhere else. box: the box around it."""
    pool: FeaturePool = "volume"
    """Average the maps over the volume, or over the region."""
    spacing: Annotated[float, Field(ge=0)] = 1.5
    """Of the voxels that the network sees, in mm; 0 keeps the scan's own."""
    window: tuple[float, float] | None = None
    """What becomes black and white; -1000 2000 (HU) for CT, percentiles 0.5 and 99.5 for others."""
    permutations: Annotated[int, Field(ge=0)] = 20
    """How often the regions are put at random places of the scan, for comparison."""
    seed: int = 0
    """Of the random places."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    runtime: Runtime = "auto"
    """What computes; auto: the faster of PyTorch and OpenVINO."""

    def place(self) -> tuple[Path, str]:
        """The table's folder and name."""
        return self.out.parent, self.out.stem


class QualityRequest(Request):
    """Learn on test cases how far to trust a segmenter, for `condyle segment --quality`."""

    POSITIONAL = ("run", "dataset")
    run: Path
    """The run folder of `condyle train`."""
    dataset: Path | None = None
    """Labelled cases that were not trained on, of ten patients or more; left out: the run's
    validation cases."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Only the test cases of this fold of the data set."""
    worse: Annotated[int, Field(ge=0, le=6)] = 6
    """How many damaged copies of each case are used too (noise, blur, crop, flip, scale, metal),
    0 to 6."""
    planes: Planes | None = None
    """Compare the predictions in these planes; `condyle segment --quality` then wants the same.
    Without `planes`, `flips` and `also`: those for the scan and for its mirror image."""
    flips: Flips = "none"
    """Compare the predictions for mirror images."""
    also: Paths = ()
    """Compare the predictions of these runs too (folds, seeds, planes): their run folders."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    seed: int = 0
    """Of the damaged copies."""


class RunsRequest(Request):
    """List the runs below folders: settings, patients, training time, Dice."""

    POSITIONAL = ("folders",)
    folders: Annotated[Paths, Field(min_length=1)]
    """Run folders, or folders that hold some."""
    sort: RunSort = "name"
    """name; dice, the best first; time of training, the shortest first."""
    differences: bool = False
    """Only the settings in which the runs differ, and their scores side by side."""
    out: Out | None = None
    """A file for the table with all its columns: .csv, .md or .json."""


class CheckInflationRequest(Request):
    """Run an encoder and its 3D inflations side by side, and say how far their outputs differ."""

    POSITIONAL = ("encoder",)
    encoder: str
    """Which of the encoders of `condyle networks`."""
    weights: str = "imagenet"
    """imagenet, none, or a file."""
    depth: Annotated[int, Field(ge=0)] = 3
    """Of the kernels: odd; 0 as deep as wide."""
    keep_depth: Annotated[int, Field(ge=0)] = 0
    """How many of the first halvings of the plane leave the depth alone."""
    out: Out | None = None
    """A PNG file for a picture of kernels before and after."""


class ImportWeightsRequest(Request):
    """Take the tensors out of a checkpoint into a safetensors file, with a table as .csv beside it.

    A trained nnU-Net becomes a run folder that `condyle segment` takes.
    """

    POSITIONAL = ("files",)
    files: Annotated[Paths, Field(min_length=1)]
    """A checkpoint (.pth, .pt, .ckpt, .safetensors), or the parts of one in their order; or the
    folder, or exported zip, of a trained nnU-Net."""
    out: Out
    """The file to write, NAME.safetensors; of an nnU-Net, the run folder."""
    network: str = ""
    """Also list what each tensor would become in this network, unet-resnet34 say."""
    unsafe_pickle: bool = False
    """Read a pickle that holds more than tensors, in a process of its own with limits. A pickle
    is a program: only those of people you trust."""
    model: str = ""
    """Which of an nnU-Net's configurations: nnUNetTrainer__nnUNetPlans__3d_fullres."""
    fold: str = ""
    """Which of an nnU-Net's folds; the first, if left out."""


class ExportRequest(Request):
    """Write a trained network for other programs, with a card that says how to use it."""

    POSITIONAL = ("run",)
    run: Path
    """The run folder of `condyle train`."""
    to: ExportFormat
    """The format."""
    precision: ExportPrecision = "fp32"
    """int8 is faster and changes a few labels; `segment` takes it if they are few."""
    calibrate: Path | None = None
    """The data set whose scans int8 is fitted to; the run's own, if left out."""
    out: Out | None = None
    """Folder for the results; beside the run's weights, if left out."""


class NetworksRequest(Request):
    """List the networks that can be built, and whether their weights are here."""

    cost: bool = False
    """Add millions of parameters, and GFLOP for a slice of 256² pixels or a block of 96³ voxels."""


class PresetsRequest(Request):
    """List the presets: the studies whose settings are built in, for `condyle train --config`."""


class DoctorRequest(Request):
    """Show what this machine has: processor, versions, weights, what runs fast."""
