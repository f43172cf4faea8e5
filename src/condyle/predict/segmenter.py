"""What training makes: a network that never travels without its recipe and its labels."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from condyle.config import Inflation, Planes, Preparation
from condyle.core import Label, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, MissingFile, UnreadableFile
from condyle.jobs.outputs import atomic_write, sha256, write_text
from condyle.networks import NetworkName, SegmentationNetwork, build, inflated
from condyle.networks.nnunet import PlannedNetwork
from condyle.predict.inference import Ensemble, Looking
from condyle.predict.nnunet import NoRecipe, Plan
from condyle.predict.runtimes.selection import Computing, runtime_for
from condyle.predict.runtimes.torch import Runtime
from condyle.predict.slices import by_slices
from condyle.predict.views import Flips
from condyle.predict.windows import by_windows
from condyle.prepare.crop import Box
from condyle.prepare.recipe import Recipe
from condyle.prepare.slices import AXIS, planes_of

__all__ = ["Segmenter", "home_of", "load"]

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A trained network with all that it takes to use it.

    Parameters
    ----------
    name : of the network, 'unet-efficientnet_lite0' say.
    network : with its weights.
    recipe : how a scan becomes what the network sees.
    scheme : what its classes 1, 2, ... are called, in this order.
    channels : how many channels a scan must have.
    window : voxels that a 3D network sees at once.
    inflation : how a pretrained 2D network became this 3D one.
    plan : how nnU-Net prepares scans for its network, instead of the recipe, if it is one of its.
    refinement : the cleaning steps that helped on validation cases (`condyle refine --choose`),
        as `condyle.refine.refined` takes them; empty: none were chosen.
    training : where it came from: data set, settings, figures.
    folder : that it was loaded from, where what is learnt of its runtimes is kept.

    Examples
    --------
    A run folder, or the `segmenter` folder in it, is loaded with `condyle.load`::

        segmenter = condyle.load("runs/knees")
        labels = segmenter.segment(condyle.read("scan.nii.gz"))
    """

    name: str
    network: SegmentationNetwork
    recipe: Recipe
    scheme: LabelScheme
    channels: int = 1
    window: tuple[int, int, int] | None = None
    inflation: Inflation = field(default_factory=Inflation)
    plan: Plan | None = None
    refinement: dict[str, Any] = field(default_factory=dict[str, Any])
    training: dict[str, Any] = field(default_factory=dict[str, Any])
    folder: Path | None = field(default=None, repr=False)
    runtimes: dict[tuple[str, str], Computing] = field(
        default_factory=dict[tuple[str, str], Computing], init=False, repr=False
    )

    def segment(
        self,
        scan: Volume | tuple[Volume, ...],
        device: str = "auto",
        area: Box | None = None,
        *,
        planes: Planes | None = None,
        flips: Flips = "none",
        runtime: str = "auto",
    ) -> LabelMap:
        """The structures of a scan, on the scan's own grid.

        Parameters
        ----------
        scan : the scan, or its channels, all on one grid.
        device : auto, cpu, cuda or mps.
        area : the box of voxels to look at; outside it all is background. The slices of a long
            scan that matter are given by `condyle.prepare.crop.slab` and `near_slice`.
        planes : of the slices of a 2D network: one, or all, whose answers are averaged; None: as
            it was trained.
        flips : none, left-right or all: mirror images are looked at too, of those that it learnt.
        runtime : torch, openvino, or auto: the fastest whose labels are PyTorch's in float32.

        Raises
        ------
        ConfigError
            If the scan has another number of channels than the network was trained on.
        """
        return Ensemble((self,)).segment(scan, Looking(planes, flips, device, runtime), area)

    def runtime(self, kind: str, device: str, samples: Tensor, ahead: int) -> Computing:
        """What runs the network, found once; see `condyle.predict.runtimes.selection`."""
        if (kind, device) not in self.runtimes:
            found = runtime_for(self.network, kind, device, samples, self.folder, ahead)
            self.runtimes[kind, device] = found
        return self.runtimes[kind, device]

    def probabilities(self, runtime: Runtime, image: NDArray[np.float32]) -> NDArray[np.float16]:
        """Class probabilities (classes, i, j, k) of a prepared scan (C, i, j, k)."""
        if self.network.spatial == 3:
            return by_windows(runtime, image, self.window)
        first, *more = planes_of(self.recipe.settings.plane)
        total = by_slices(runtime, image, first)
        for plane in more:
            total += by_slices(runtime, image, plane)
        total /= 1 + len(more)
        return total

    def inflated(
        self, inflation: Inflation | None = None, window: tuple[int, int, int] | None = None
    ) -> Segmenter:
        """The 3D segmenter that knows of volumes what this one learnt on slices.

        It keeps the recipe and the labels. On a scan that is alike in all slices it gives the
        same answer; then it is fine-tuned on volumes.

        Parameters
        ----------
        inflation : how; the depth lies across the plane of the slices, whatever it says.
        window : voxels that the 3D network sees at once; None: whole scans.

        Raises
        ------
        ConfigError
            If it is 3D already.
        """
        if self.network.spatial == 3:
            raise ConfigError(f"{self.name} is 3D already: inflate a 2D segmenter")
        plane = planes_of(self.recipe.settings.plane)[-1]
        across = (inflation or Inflation()).changed(axis=2 + AXIS[plane])
        network = inflated(self.network, across)
        name = f"3d:{self.name}"
        return replace(
            self, name=name, network=network, inflation=across, window=window, folder=None
        )

    def with_network(self, network: SegmentationNetwork) -> Segmenter:
        """The same segmenter over other weights of the same network."""
        return replace(self, network=network, folder=None)

    def save(self, folder: Path) -> Path:
        """Write `model.safetensors` and `segmenter.json` into a folder; gives back the folder."""
        weights = Path(folder) / "model.safetensors"
        tensors = {k: v.contiguous().cpu() for k, v in self.network.state_dict().items()}
        with atomic_write(weights, check=lambda path: load_file(str(path))) as temporary:
            save_file(tensors, str(temporary))
        card = {
            "format": FORMAT,
            "network": self.name,
            "channels": self.channels,
            "labels": [
                {"id": x.id, "name": x.name, "colour": list(x.colour)} for x in self.scheme.labels
            ],
            "preparation": self.recipe.settings.model_dump(mode="json"),
            "window": self.window,
            "inflation": self.inflation.model_dump(mode="json"),
            **({"plan": self.plan.model_dump(mode="json")} if self.plan else {}),
            "refinement": self.refinement,
            "sha256": sha256(weights),
            "training": self.training,
        }
        write_text(Path(folder) / "segmenter.json", json.dumps(card, indent=2) + "\n")
        return Path(folder)

    @property
    def reach_mm(self) -> float:
        """How far the labels of a training scan stretched at the most, from feet to head, in mm.

        0 where it is not known.
        """
        return float(self.training.get("reach_mm", 0.0))

    @property
    def ends_mm(self) -> float:
        """How much of each end of a bone it was trained on, in mm; 0: on all slices alike."""
        return float(self.training.get("ends_mm", 0.0))

    @property
    def flips(self) -> Flips:
        """The mirror images that it has learnt from; others would only mislead it."""
        if self.plan is not None:
            return "all"  # the plan knows
        return self.training.get("flips", "all")

    @classmethod
    def load(cls, folder: Path) -> Segmenter:
        """The segmenter of a run folder, or of the `segmenter` folder in it.

        Raises
        ------
        MissingFile, UnreadableFile
            If there is none, or its weights are not those that its card names.
        """
        home = home_of(folder)
        if not (home / "segmenter.json").is_file():
            raise MissingFile(f"{folder} holds no segmenter: give the run folder of condyle train")
        try:
            card = json.loads((home / "segmenter.json").read_text(encoding="utf-8"))
            if card["format"] != FORMAT:
                raise UnreadableFile(f"{home} was written by another version of Condyle")
            if sha256(home / "model.safetensors") != card["sha256"]:
                raise UnreadableFile(f"{home / 'model.safetensors'} is not the file its card names")
            scheme = LabelScheme(
                tuple(Label(x["id"], x["name"], tuple(x["colour"])) for x in card["labels"])
            )
            inflation = Inflation.model_validate(card.get("inflation", {}))
            plan = Plan.model_validate(card["plan"]) if "plan" in card else None
            network = _network(card, plan, len(scheme) + 1, inflation)
            network.load_state_dict(load_file(str(home / "model.safetensors")))
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            if isinstance(error, UnreadableFile):
                raise
            raise UnreadableFile(f"{home} holds no whole segmenter ({error})") from error
        return cls(
            name=card["network"],
            inflation=inflation,
            plan=plan,
            network=network.eval(),
            recipe=(NoRecipe if plan else Recipe)(Preparation.model_validate(card["preparation"])),
            scheme=scheme,
            channels=card["channels"],
            window=tuple(card["window"]) if card["window"] else None,
            refinement=card.get("refinement", {}),
            training=card["training"],
            folder=home,
        )


def _network(
    card: dict[str, Any], plan: Plan | None, classes: int, inflation: Inflation
) -> SegmentationNetwork:
    """The network that a card describes, with random weights."""
    if plan is not None:
        return PlannedNetwork(plan.architecture, card["channels"], classes)
    NetworkName.parse(card["network"])
    return build(card["network"], card["channels"], classes, "none", inflation=inflation)[0]


def home_of(run: Path) -> Path:
    """The folder of the weights in a run folder, or that folder itself."""
    return Path(run) if (Path(run) / "segmenter.json").is_file() else Path(run) / "segmenter"


def load(run: Path | str) -> Segmenter:
    """The segmenter of a run folder that `condyle train` wrote."""
    return Segmenter.load(Path(run))
