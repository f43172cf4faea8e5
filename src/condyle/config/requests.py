"""The settings of each verb: one frozen model per verb.

The command line, Python, and whatever sends work elsewhere use the same requests. A field's
description is the help of its flag. `POSITIONAL` fields need no flag.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    NotDrawn,
    Overlap,
    Plane,
    Planes,
    RunSort,
    Runtime,
    SegmentArea,
)
from condyle.config.comparison_request import CompareRequest
from condyle.config.request import BatchRequest, Request
from condyle.config.training_requests import PlanRequest, SettingsRequest, TrainRequest

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
    "ServeRequest",
    "SettingsRequest",
    "ShowRequest",
    "TrainRequest",
]

Out = Path
Paths = tuple[Path, ...]


class DemoRequest(Request):
    """Run every step on phantoms, in minutes: data, training, test scores, surfaces."""

    out: Out = Path("demo")
    """Folder for the results."""
    budget: str = "5m"
    """Time for the training, such as 5m."""

    def training(self) -> TrainRequest:
        """The request for the training on its phantoms."""
        return TrainRequest(dataset=self.out / "phantoms", out=self.out / "run", budget=self.budget)


class ImportRequest(BatchRequest):
    """Make a training data set of scans and masks, or of a data set in another layout."""

    POSITIONAL = ("scans",)
    scans: Paths = ()
    """Files, DICOM folders or zips; or one data set folder, and no masks."""
    masks: Paths = ()
    """A folder with a folder of masks a scan (tibia.nii.gz, R_femur.nrrd, ...), with masks called
    SCAN_STRUCTURE or with a label map a scan, matched by name: 01_CT and 01_seg match, too. Left
    out where they lie beside their scans."""
    pairs: Path | None = None
    """A .csv table with the columns scan and mask, and, if wished, case and patient: which mask
    belongs to which scan, where names do not say it."""
    out: Out
    """New folder for the data set."""
    scheme: str = ""
    """lower-limb (1 tibia, 2 femur, 3 fibula, 4 pelvis), knee (1 tibia, 2 femur), or a JSON file
    {"name": number}; left out: the names found."""
    rename: tuple[str, ...] = ()
    """NAME=STRUCTURE, or a .csv table with the columns name and structure, such as the names.csv
    of an import: what a mask or segment of this name is called. Without STRUCTURE: left out."""
    not_drawn: NotDrawn = "background"
    """What voxels that no mask claims become where a scan lacks a mask that others have:
    background, or ignore, since what nobody drew may lie there."""
    overlap: Overlap = "error"
    """What becomes of a voxel that two masks claim: background, the first mask's (priority), or
    an error."""
    anonymous_names: bool = False
    """Call the cases case_001, case_002, ... in the order of their names; no key is written."""
    patients: str = ""
    """A .csv table of case and patient, or a pattern for case names: '(.+)_(left|right)'."""
    split: str = ""
    """24/8/8, 5-fold or leave-one-out, by patient."""
    seed: int = 0
    """Random seed of the split."""
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
    """Format of the label maps. DICOM-SEG is for DICOM scans, and names the patient."""
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
    """Runtime of the networks; auto: the fastest whose labels are those of PyTorch in float32."""
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
    """Runtime of each network, by the hash of its weights; chosen where it is not given."""
    NO_FLAG = ("backends",)
    ELSEWHERE = ("out", "on", "resume", "scans", "backends")


class RefineRequest(BatchRequest):
    """Clean label maps, structure by structure; or choose the steps for a segmenter."""

    POSITIONAL = ("labelmaps",)
    ELSEWHERE = ("out", "on", "resume", "labelmaps")
    labelmaps: Annotated[Paths, Field(min_length=1)]
    """Files, or folders of them; with `choose`, the data set of the training."""
    out: Out | None = None
    """Folder for the cleaned label maps."""
    keep_largest: Annotated[int, Field(ge=0)] = 0
    """Keep only this many connected components of each structure; 0 keeps all."""
    min_mm3: Annotated[float, Field(ge=0)] = 0.0
    """Remove connected components smaller than this volume in mm³."""
    fill_holes: bool = False
    """Fill the holes that a structure encloses."""
    slice_ratio: Annotated[float, Field(ge=0)] = 0.0
    """In each slice: fill holes, and remove components below this fraction of the structure's
    pixels there."""
    smooth_mm: Annotated[float, Field(ge=0)] = 0.0
    """Smooth structures by a Gaussian of this standard deviation in mm."""
    steps: Path | None = None
    """Instead of flags: a TOML file of these settings, with a table [structures.NAME] for each
    structure that needs other ones."""
    pictures: bool = False
    """Write a picture NAME.png beside each label map: before, after and what changed, in the axial
    slice that changed most."""
    choose: Path | None = None
    """The run folder of a training: its validation cases decide which steps raise Dice, and its
    segmenter keeps them."""
    device: str = "auto"
    """With `choose`: auto, cpu, cuda or mps."""


class EvaluateRequest(BatchRequest):
    """Score predictions against the truth, case by case and structure by structure."""

    POSITIONAL = ("predictions", "labels")
    predictions: Path
    """A folder of label maps, named as the cases, or one file; or a folder of masks a case."""
    labels: Path
    """The true label maps: a folder, a file, a data set, or a folder of masks a case."""
    out: Out
    """Folder for the tables."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Only the test cases of this fold of the data set."""
    tolerance_mm: Annotated[float, Field(gt=0)] = 2.0
    """Tolerance of the normalised surface Dice (NSD), in mm; of pictures, in pixels."""
    structures: tuple[str, ...] = ()
    """Score these structures alone; left out: all that the truth or a prediction holds."""
    overlap: Overlap = "error"
    """What becomes of a voxel that two masks of one case claim: background, the first mask's
    (priority), or an error."""
    names: dict[str, int] = Field(default_factory=dict)
    """The scheme that all are judged by; found where it is not given."""
    NO_FLAG = ("names",)


class MeshRequest(BatchRequest):
    """Turn label maps into surfaces in millimetres: one file a structure, and one of all."""

    POSITIONAL = ("labelmaps",)
    ELSEWHERE = ("out", "on", "resume", "labelmaps")
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
    """Smooth the voxel staircase; the volume is kept."""
    error_mm: Annotated[float, Field(ge=0, le=10)] = 0.1
    """How far a surface may move to save triangles, 0 to 10 mm; 0 keeps all triangles."""


class ShowRequest(Request):
    """Draw a slice of a scan beside its labels, many slices on a sheet, or labels in 3D."""

    POSITIONAL = ("scan", "labelmap", "truth")
    scan: Path
    """A file, DICOM folder or zip; a data set, with `case`; with `surface`, a label map."""
    labelmap: Path | None = None
    """Its label map; of a data set's case, a prediction to show beside the case's own: a file, or a
    folder with one called after the case."""
    truth: Path | None = None
    """The true label map, to show beside the other and where they differ."""
    out: Out
    """The picture to write, NAME.png."""
    case: str = ""
    """Which case of a data set."""
    slice: int | None = None
    """Which slice, counted from 0 at the feet, back or patient's left; left out: the one with the
    most labels."""
    plane: Plane = "axial"
    """Plane of the slices."""
    every: Annotated[int, Field(ge=1)] | None = None
    """A sheet of every K-th slice that holds labels; of a scan alone, every K-th slice."""
    ends: Annotated[int, Field(ge=1)] | None = None
    """A sheet of the first and last N slices that hold a structure: the ends of a bone."""
    structure: str = ""
    """Show this structure alone."""
    window: tuple[float, float] | None = None
    """Intensities shown as black and as white; left out: -250 900 (HU) for CT, percentiles 1 and
    99.5 else."""
    surface: bool = False
    """Show the labels as surfaces in 3D, from two sides; with a truth, how far they lie apart."""
    volume: Annotated[int, Field(ge=0)] | None = None
    """Which volume of a file that holds several, from 0."""
    series: str = ""
    """Which series of a DICOM folder that holds several: its number in the list, or its UID."""


class FeaturesRequest(BatchRequest):
    """Compare the regions of scans by the features of a pretrained network, inflated to 3D."""

    POSITIONAL = ("scan", "labelmap")
    scan: Path
    """A scan; a folder of scans; or a data set, which has its label maps in it."""
    labelmap: Path | None = None
    """The scan's label map; or a folder of label maps with the scans' names."""
    out: Out
    """The table to write, NAME.csv. Beside it: how it was made (.json), the features (.npz), a
    heat map (.png), how alike random regions are (_random.csv), and a page of all (.html)."""
    encoder: str = "auto"
    """Which of the encoders of `condyle networks`; auto: densenet121, as in the femur study, or
    efficientnet_lite0, which needs no download, where the weights of that cannot be had."""
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
    """Voxel size for the network, in mm; 0 keeps the scan's own."""
    window: tuple[float, float] | None = None
    """Intensities that become 0 and 1; -1000 2000 (HU) for CT, percentiles 0.5 and 99.5 else."""
    permutations: Annotated[int, Field(ge=0)] = 20
    """How often the regions are put at random places of the scan, for comparison."""
    seed: int = 0
    """Random seed of the places."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    runtime: Runtime = "auto"
    """Runtime of the network; auto: the faster of PyTorch and OpenVINO."""

    def place(self) -> tuple[Path, str]:
        """The table's folder and name."""
        return self.out.parent, self.out.stem


class QualityRequest(Request):
    """Calibrate on test cases how far to trust a segmenter, for `condyle segment --quality`."""

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
    """Compare the predictions in these planes; `condyle segment --quality` then needs the same.
    Without `planes`, `flips` and `also`: those for the scan and for its mirror image."""
    flips: Flips = "none"
    """Compare the predictions for mirror images."""
    also: Paths = ()
    """Compare the predictions of these runs too (folds, seeds, planes): their run folders."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    seed: int = 0
    """Random seed of the damaged copies."""


class RunsRequest(Request):
    """List the runs below folders: settings, patients, training time, Dice."""

    POSITIONAL = ("folders",)
    folders: Annotated[Paths, Field(min_length=1)]
    """Run folders, or folders that contain some."""
    sort: RunSort = "name"
    """name; dice, the best first; time of training, the shortest first."""
    differences: bool = False
    """Only the settings in which the runs differ, and their scores side by side."""
    out: Out | None = None
    """A file for the table with all its columns: .csv, .md or .json."""


class CheckInflationRequest(Request):
    """Compare the outputs of a 2D encoder and its 3D inflations."""

    POSITIONAL = ("encoder",)
    encoder: str
    """Which of the encoders of `condyle networks`."""
    weights: str = "imagenet"
    """imagenet, none, or a file."""
    depth: Annotated[int, Field(ge=0)] = 3
    """Depth of the kernels: odd; 0: as deep as wide."""
    keep_depth: Annotated[int, Field(ge=0)] = 0
    """How many of the first downsampling steps keep the depth."""
    out: Out | None = None
    """A PNG file for a picture of kernels before and after."""


class ImportWeightsRequest(Request):
    """Convert a checkpoint to a safetensors file, with a table of its tensors as .csv beside it.

    A trained nnU-Net becomes a run folder that `condyle segment` takes.
    """

    POSITIONAL = ("files",)
    files: Annotated[Paths, Field(min_length=1)]
    """A checkpoint (.pth, .pt, .ckpt, .safetensors), or the parts of one in their order; or the
    folder, or exported zip, of a trained nnU-Net."""
    out: Out
    """The file to write, NAME.safetensors; of an nnU-Net, the run folder."""
    network: str = ""
    """Also list what each tensor would become in this network, such as unet-resnet34."""
    unsafe_pickle: bool = False
    """Read a pickle that holds more than tensors, in a separate process with limits. A pickle is a
    program: use only those of people you trust."""
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
    """int8 is faster and changes a few labels; `segment` uses it only if they are few."""
    calibrate: Path | None = None
    """The data set whose scans int8 is calibrated on; the run's own, if left out."""
    out: Out | None = None
    """Folder for the results; beside the run's weights, if left out."""


class NetworksRequest(Request):
    """List the available networks, and whether their weights are on this machine."""

    POSITIONAL = ("part",)
    part: str = ""
    """Only networks whose names hold this: resnet34, unet-, 3d:."""
    cost: bool = False
    """Add millions of parameters, and GFLOP for a slice of 256² pixels or a block of 96³ voxels."""


class PresetsRequest(Request):
    """List the presets: the studies whose settings are built in, for `condyle train --config`."""

    POSITIONAL = ("name",)
    name: str = ""
    """One of them: every number of its study beside the preset's, and why it differs."""


class DoctorRequest(Request):
    """Show this machine's processor, versions, weights and fast precisions."""


class ServeRequest(Request):
    """Show Condyle's page in a browser of this machine; nothing leaves it."""

    POSITIONAL = ("workspace",)
    workspace: Path = Path("condyle")
    """The folder in which the page keeps uploads, jobs and results; made if it is not there."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    """The port on this machine; 0: any that is free."""
    roots: Paths = ()
    """More folders whose scans, data sets and runs the page may read."""
