"""What training makes: a network that never travels without its preprocessing and its labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as tensors_as_bytes

from condyle.config import Experiment, Inflation, Planes, Section
from condyle.config.section import json_of, parsed
from condyle.core import Grid, Label, LabelMap, LabelScheme
from condyle.errors import ConfigError, MissingFile, UnreadableFile
from condyle.io.exchange import channels_of
from condyle.io.pictures import as_channels
from condyle.jobs.outputs import sha256, write_bytes, write_text
from condyle.networks import NetworkName, PredictionNetwork, SegmentationNetwork, build, inflated
from condyle.networks.nnunet import NnunetNetwork
from condyle.networks.seeds import in_turn
from condyle.predict.ensemble import Ensemble, Member
from condyle.predict.inference import Predictor
from condyle.predict.nnunet import NnunetPreprocessing
from condyle.predict.options import InferenceOptions
from condyle.predict.preprocessor import Preprocessor
from condyle.predict.recipe import RecipePreprocessing
from condyle.predict.training_record import TrainingRecord
from condyle.predict.views import Mirroring
from condyle.prepare.crop import Box
from condyle.prepare.slices import AXIS, planes_of

__all__ = ["Segmenter", "SegmenterFile", "home_of", "load"]

FORMAT = 2
FILE, WEIGHTS = "segmenter.json", "model.safetensors"

Preprocessing = RecipePreprocessing | NnunetPreprocessing


class LabelEntry(Section):
    """A structure in `segmenter.json`."""

    id: int
    name: str
    colour: tuple[int, int, int]


class SegmenterFile(Section):
    """What `segmenter.json` holds: all of a segmenter but its weights."""

    format: Literal[2]
    network: str
    channels: int = Field(ge=1)
    labels: tuple[LabelEntry, ...]
    preprocessing: Annotated[Preprocessing, Field(discriminator="kind")]
    inflation: Inflation
    refinement: dict[str, Any]
    sha256: str
    """Of the file of weights."""
    training: TrainingRecord

    @model_validator(mode="after")
    def _has_a_scheme(self) -> Self:
        self.scheme()
        return self

    @classmethod
    def read(cls, path: Path) -> SegmenterFile:
        """The content of a file.

        Raises
        ------
        UnreadableFile
            If it is damaged, or of another version of Condyle.
        """
        found = json_of(path)
        if isinstance(found, dict) and found.get("format", FORMAT) != FORMAT:  # pyright: ignore[reportUnknownMemberType]
            raise UnreadableFile(f"{path} was written by another version of Condyle")
        return parsed(found, cls, path)

    def scheme(self) -> LabelScheme:
        """What the classes 1, 2, ... are called."""
        return LabelScheme(tuple(Label(x.id, x.name, x.colour) for x in self.labels))

    def untrained(self) -> PredictionNetwork:
        """The network, with random weights."""
        classes = len(self.labels) + 1
        if isinstance(self.preprocessing, NnunetPreprocessing):
            with in_turn():
                return NnunetNetwork(self.preprocessing.plan.architecture, self.channels, classes)
        NetworkName.parse(self.network)
        return build(self.network, self.channels, classes, "none", inflation=self.inflation)[0]


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A trained network with all that it takes to use it.

    Parameters
    ----------
    name : of the network, 'unet-efficientnet_lite0' say.
    network : with its weights.
    preprocessor : how a scan becomes what the network gets, and how its probabilities come back.
    scheme : what its classes 1, 2, ... are called, in this order.
    channels : how many channels a scan must have.
    inflation : how a pretrained 2D network became this 3D one.
    refinement : the post-processing that helped on validation cases (`condyle refine --choose`),
        as `condyle.refine.refined` takes it; empty: none was chosen.
    training : what it was trained on, and how well it went.
    weights : the SHA-256 of the file of its weights; '' where there is none.
    folder : of that file; None where there is none.

    Examples
    --------
    A run folder, or the `segmenter` folder in it, is loaded with `condyle.load`::

        segmenter = condyle.load("runs/knees")
        labels = segmenter.segment(condyle.read("scan.nii.gz"))
    """

    name: str
    network: PredictionNetwork
    preprocessor: Preprocessing
    scheme: LabelScheme
    channels: int = 1
    inflation: Inflation = field(default_factory=Inflation)
    refinement: dict[str, Any] = field(default_factory=dict[str, Any])
    training: TrainingRecord = field(default_factory=TrainingRecord)
    weights: str = ""
    folder: Path | None = field(default=None, repr=False)

    @property
    def member(self) -> Member:
        """The segmenter as one of an `Ensemble`."""
        preprocessor: Preprocessor = self.preprocessor
        return Member(
            self.name, self.network, preprocessor, self.scheme, self.channels,
            self.training.mirroring, self.training.ends_mm, self.weights, self.folder,
            self._known_of_training,
        )  # fmt: skip

    @property
    def _known_of_training(self) -> TrainingRecord:
        """What it was trained on; of earlier files, what its preprocessing says of that."""
        is_ct = isinstance(self.preprocessor, RecipePreprocessing) and (
            self.preprocessor.settings.intensity == "ct"
        )
        known = self.training
        return known.changed(hounsfield=True) if is_ct and known.hounsfield is None else known

    def predictor(
        self,
        *,
        planes: Planes | None = None,
        mirroring: Mirroring = "none",
        device: str = "auto",
        runtime: str = "auto",
    ) -> Predictor:
        """What segments several scans: what computes the network is chosen once.

        Parameters
        ----------
        planes, mirroring, device, runtime : see `condyle.predict.InferenceOptions`.
        """
        options = InferenceOptions(planes, mirroring, device, runtime)
        return Predictor(Ensemble((self.member,)), options)

    def segment(
        self,
        scan: Any,
        device: str = "auto",
        area: Box | None = None,
        *,
        grid: Grid | None = None,
        planes: Planes | None = None,
        mirroring: Mirroring = "none",
        runtime: str = "auto",
    ) -> LabelMap:
        """The structures of a scan, on the scan's own grid.

        Several scans are faster by one `predictor`.

        Parameters
        ----------
        scan : a `Volume`; a path; an image of nibabel or SimpleITK; an array (i, j, k) with `grid`;
            or several of these, one a channel, all on one grid.
        device : auto, cpu, cuda or mps.
        area : the box of voxels that is predicted; outside it all is background. The slices of a
            long scan that matter are given by `condyle.prepare.crop.slab` and `near_slice`.
        planes : of the slices of a 2D network: one, or all, whose probabilities are averaged; None:
            as it was trained.
        mirroring : none, left-right or all: mirror images are predicted too, of those that it was
            trained on.
        runtime : torch, openvino, or auto: the fastest whose labels are PyTorch's in float32.
        grid : where the voxels of an array lie.

        Raises
        ------
        ConfigError
            If the scan is nothing of these, or has another number of channels than the network
            was trained on.
        """
        channels = channels_of(scan, grid)
        if channels[0].grid.is_picture:
            channels = as_channels(channels, self.channels)
        predictor = self.predictor(
            planes=planes, mirroring=mirroring, device=device, runtime=runtime
        )
        predictor.ensemble.warn_of_differences(channels[0])
        return predictor.predict(channels, area=area).labels

    def __repr__(self) -> str:
        names = ", ".join(self.scheme.names)
        channels = f", {self.channels} channels" if self.channels > 1 else ""
        return f"Segmenter({self.name}: {names}{channels})"

    @property
    def by_recipe(self) -> RecipePreprocessing:
        """The preprocessing of a network that Condyle trained.

        Raises
        ------
        ConfigError
            If it is an imported model of nnU-Net's.
        """
        if isinstance(self.preprocessor, NnunetPreprocessing):
            raise ConfigError(
                f"{self.name} is a network of nnU-Net's: it can only be used to segment"
            )
        return self.preprocessor

    def inflated(
        self, inflation: Inflation | None = None, window: tuple[int, int, int] | None = None
    ) -> Segmenter:
        """The 3D segmenter that begins with the weights that this one learned on slices.

        It keeps the recipe and the labels. On a scan that is alike in all slices it gives the
        same labels; then it is fine-tuned on volumes.

        Parameters
        ----------
        inflation : how; the depth lies across the plane of the slices, whatever it says.
        window : voxels that the 3D network gets at once; None: whole scans.

        Raises
        ------
        ConfigError
            If it is 3D already.
        """
        if self.network.spatial == 3:
            raise ConfigError(f"{self.name} is 3D already: inflate a 2D segmenter")
        flat = self.by_recipe
        across = (inflation or Inflation()).changed(axis=2 + AXIS[planes_of(flat.plane)[-1]])
        return replace(
            self,
            name=f"3d:{self.name}",
            network=inflated(cast(SegmentationNetwork, self.network), across),
            preprocessor=flat.changed(spatial=3, window=window),
            inflation=across,
            weights="",
            folder=None,
        )

    def with_network(self, network: PredictionNetwork) -> Segmenter:
        """The same segmenter over other weights of the same network."""
        return replace(self, network=network, weights="", folder=None)

    def save(self, folder: Path) -> Path:
        """Write `model.safetensors` and `segmenter.json` into a folder; gives back the folder."""
        weights = Path(folder) / WEIGHTS
        tensors = {k: v.contiguous().cpu() for k, v in self.network.state_dict().items()}
        write_bytes(weights, tensors_as_bytes(tensors))
        content = SegmenterFile(
            format=FORMAT,
            network=self.name,
            channels=self.channels,
            labels=tuple(
                LabelEntry(id=x.id, name=x.name, colour=x.colour) for x in self.scheme.labels
            ),
            preprocessing=self.preprocessor,
            inflation=self.inflation,
            refinement=self.refinement,
            sha256=sha256(weights),
            training=self.training,
        )
        write_text(Path(folder) / FILE, content.model_dump_json(indent=2) + "\n")
        return Path(folder)

    @classmethod
    def load(cls, folder: Path) -> Segmenter:
        """The segmenter of a run folder, or of the `segmenter` folder in it.

        Raises
        ------
        MissingFile, UnreadableFile
            If there is none, or its weights are not those that `segmenter.json` names.
        """
        home = home_of(folder)
        if not (home / FILE).is_file() and (Path(folder) / "fold_0").is_dir():
            raise MissingFile(
                f"{folder} holds a run a fold: give one of them, such as {Path(folder) / 'fold_0'} "
                "(condyle segment takes them all together)"
            )
        if not (home / FILE).is_file() and (Path(folder) / Experiment.FILE).is_file():
            raise MissingFile(
                f"the training in {folder} is not finished: go on with it, condyle train --out "
                f"{folder} --resume"
            )
        if not (home / FILE).is_file():
            raise MissingFile(f"{folder} holds no segmenter: give the run folder of condyle train")
        found = SegmenterFile.read(home / FILE)
        return cls(
            name=found.network,
            network=_with_weights(found, home / WEIGHTS),
            preprocessor=found.preprocessing,
            scheme=found.scheme(),
            channels=found.channels,
            inflation=found.inflation,
            refinement=found.refinement,
            training=found.training,
            weights=found.sha256,
            folder=home,
        )


def _with_weights(found: SegmenterFile, path: Path) -> PredictionNetwork:
    """The network with its weights, ready to predict."""
    try:
        if sha256(path) != found.sha256:
            raise UnreadableFile(f"{path} is not the file that {FILE} beside it names")
        network, tensors = found.untrained(), load_file(str(path))
    except (OSError, ConfigError, SafetensorError) as error:
        if isinstance(error, UnreadableFile):
            raise
        raise UnreadableFile(f"{path.parent} holds no whole segmenter ({error})") from error
    own = network.state_dict()
    strange = sorted(own.keys() ^ tensors.keys()) or sorted(
        name for name, tensor in tensors.items() if own[name].shape != tensor.shape
    )
    if strange:
        raise UnreadableFile(f"{path} holds weights of another network: {strange[0]} does not fit")
    network.load_state_dict(tensors)
    return network.eval()


def home_of(run: Path) -> Path:
    """The folder of the weights in a run folder, or that folder itself."""
    return Path(run) if (Path(run) / FILE).is_file() else Path(run) / "segmenter"


def load(run: Path | str) -> Segmenter:
    """The segmenter of a run folder that `condyle train` wrote."""
    return Segmenter.load(Path(run))
