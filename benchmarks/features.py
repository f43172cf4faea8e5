"""Features of a knee's regions: Condyle beside plain PyTorch in float32, the same DenseNet-121.

Both look at the same three volumes of 128 x 128 x 128 voxels (a phantom's tibia, femur and
background) and take turns in one process. The weights are random ones, the norms set by slices of
that knee, so that regions differ. Processor time is what counts, since other work on the
machine changes it little; wall time is shown.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from condyle.features.maps import FeatureMaps
from condyle.features.regions import Scene, region_features
from condyle.features.similarity import similarities
from condyle.networks.encoders import pretrained_encoder
from condyle.networks.inflation.inflate import inflate
from condyle.networks.weights.locate import load_into, read_state
from condyle.phantom import knee

SIDE = 128
TURNS = 2
GOAL, APART = 3.0, 1e-3
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TAPS = {
    "Fifth-Last": "model.features_denseblock4.denselayer14.conv2",
    "Third-Last": "model.features_denseblock4.denselayer15.conv2",
    "Last": "model.features_denseblock4.denselayer16.conv2",
}


class Plain:
    """What a script without further thought does: inflate, hook three layers, run."""

    multiple = 32

    def __init__(self, weights):
        flat = pretrained_encoder("densenet121")
        load_into(flat, read_state(weights), weights)
        self.network = inflate(flat, "average").eval()
        self.made = {}
        for column, name in TAPS.items():
            self.network.get_submodule(name).register_forward_hook(
                lambda _, __, y, column=column: self.made.__setitem__(column, y)
            )

    def __call__(self, grey):
        shape = (1, 3, 1, 1, 1)
        x = torch.from_numpy(grey)[None, None]
        x = (x - torch.tensor(MEANS).view(shape)) / torch.tensor(DEVIATIONS).view(shape)
        with torch.no_grad():
            self.network(x)
        return {column: y[0].numpy() for column, y in self.made.items()}


def write_weights(grey, path):
    """Random weights in a file, the norms set by slices (n, i, j)."""
    torch.manual_seed(0)
    flat = pretrained_encoder("densenet121").train()
    for layer in flat.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean of all that was seen
    with torch.no_grad():
        flat(torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1) * 4 - 2)
    torch.save(flat.model.state_dict(), path)


def scene():
    """A phantom knee, resampled to 128 voxels a side."""
    volume, labels = knee(3)
    spacing = max(n * s for n, s in zip(volume.grid.shape, volume.spacing, strict=True)) / SIDE
    return Scene.of(volume, labels, ["tibia", "femur", "background"], spacing=spacing)


def main():
    knee_scene = scene()
    shape = tuple(-(-n // 32) * 32 for n in knee_scene.grid.shape)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        write_weights(knee_scene.grey.transpose(2, 0, 1)[::8].copy(), weights)
        sides = {"plain torch fp32": Plain(weights)}
        for runtime in ("torch", "auto"):
            maps = FeatureMaps.of("densenet121", "average", str(weights), "cpu", runtime)
            sides[f"Condyle, {maps.computed_by}"] = maps
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, {shape}")
    found, wall, busy = {}, {}, {}
    for _ in range(TURNS + 1):  # the first is for warming up
        for name, maps in sides.items():
            started, at = time.perf_counter(), time.process_time()
            found[name] = similarities(region_features(maps, knee_scene))
            wall.setdefault(name, []).append(time.perf_counter() - started)
            busy.setdefault(name, []).append(time.process_time() - at)
    usual, *_ = sides
    print("| three regions by | CPU s | x | wall s | x | a cosine differs by at most |")
    print("|---|---|---|---|---|---|")
    missed = False
    cosines = [cosine for row in found[usual].values() for cosine in row.values()]
    for name in sides:
        cpu, seconds = (statistics.median(t[name][1:]) for t in (busy, wall))
        ratios = [statistics.median(t[usual][1:]) / s for t, s in ((busy, cpu), (wall, seconds))]
        apart = max(
            abs(found[name][pair][column] - cosine)
            for pair, row in found[usual].items()
            for column, cosine in row.items()
        )
        print(
            f"| {name} | {cpu:.2f} | {ratios[0]:.1f} | {seconds:.2f} | {ratios[1]:.1f} "
            f"| {apart:.0e} |"
        )
        missed = (ratios[0] < GOAL or apart > APART) if name == list(sides)[-1] else False
    print(f"cosines from {min(cosines):.3f} to {max(cosines):.3f}")
    if missed:
        sys.exit(f"missed the goal: {GOAL} x, and cosines within {APART}")


if __name__ == "__main__":
    main()
