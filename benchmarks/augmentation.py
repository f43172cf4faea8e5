"""Changing training samples: Condyle's augmentation beside nnU-Net's, batchgeneratorsv2.

Both cut the same patches out of the same, larger, samples on one core; each way is a fresh process
and they take turns. nnU-Net's settings are its defaults; `nearest` is batchgeneratorsv2 with labels
taken as Condyle takes them, which nnU-Net's default does more dearly, label by label. Condyle's
settings are as strong. `as drawn`: each change with its own probability, a fifth on average; `all`:
every change in every sample; `bent`: elastic deformation as well, which nnU-Net leaves out.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import time

SHAPES = {"3D 40x56x40": ((40, 56, 40), 4), "2D 256x256": ((256, 256), 8)}
MODES = ("as drawn", "all", "bent")
ROUNDS = 3
BATCHES = 10
CLASSES = 5
GOAL = 0.7
"""Of the time that nnU-Net's own settings take, at most."""


def samples(shape):
    """Images in noise and labels in blocks, (B, 1, *context), a quarter wider than a patch."""
    import torch
    from torch.nn.functional import interpolate

    sides, count = SHAPES[shape]
    context = [round(1.25 * side) for side in sides]
    torch.manual_seed(0)
    blocks = torch.randint(0, CLASSES, (count, 1, *(4 for _ in sides))).float()
    labels = interpolate(blocks, context, mode="nearest").to(torch.uint8)
    return labels + torch.randn(labels.shape), labels


def condyles(shape, mode):
    import torch

    from condyle.config import Augmentation
    from condyle.train.augment import augment, draw

    sides, _ = SHAPES[shape]
    settings = Augmentation(
        p=0.2 if mode == "as drawn" else 1, rotation=30 if len(sides) == 3 else 180, scaling=0.4,
        elastic=8 if mode == "bent" else 0, flip="all", blur=1, low_resolution=2, brightness=0.25,
        contrast=0.25, gamma=0.5, noise=0.3,
    )  # fmt: skip
    images, labels = samples(shape)
    spacing = (1.0,) * len(sides)

    def make(number):
        drawn = [draw(settings, spacing, 0, 0, number, n) for n in range(len(images))]
        return augment(
            images, labels[:, 0], sides, [spacing] * len(images), drawn, torch.arange(CLASSES)
        )

    return make


def nnunets(shape, mode, labels_by="bilinear"):
    import numpy as np
    import torch
    from batchgeneratorsv2.transforms.intensity.brightness import (
        MultiplicativeBrightnessTransform as Brightness,
    )
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast as Spread
    from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform as Contrast
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform as Gamma
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import (
        GaussianNoiseTransform as Noise,
    )
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform as Blur
    from batchgeneratorsv2.transforms.spatial.low_resolution import (
        SimulateLowResolutionTransform as Coarse,
    )
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform as Mirror
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform as Spatial

    sides, _ = SHAPES[shape]
    turn = np.pi / (6 if len(sides) == 3 else 1)
    every = mode != "as drawn"
    move = Spatial(
        sides, patch_center_dist_from_border=0, random_crop=False, mode_seg=labels_by,
        p_rotation=1 if every else 0.2, rotation=(-turn, turn),
        p_scaling=1 if every else 0.2, scaling=(0.7, 1.4), p_synchronize_scaling_across_axes=1,
        p_elastic_deform=1 if mode == "bent" else 0,
    )  # fmt: skip
    half = 1 if every else 0.5
    gamma = {"gamma": Spread((0.7, 1.5)), "synchronize_channels": False, "p_per_channel": 1}
    # nnU-Net's transforms, and with which probability each comes as drawn; 'all' takes one gamma
    chances = [
        (Noise((0, 0.1), p_per_channel=1, synchronize_channels=True), 0.1),
        (Blur((0.5, 1.0), False, False, p_per_channel=half, benchmark=True), 0.2),
        (Brightness(Spread((0.75, 1.25)), False, 1), 0.15),
        (Contrast(Spread((0.75, 1.25)), True, False, 1), 0.15),
        (Coarse((0.5, 1), False, True, None, p_per_channel=half), 0.25),
        (Gamma(**gamma, p_invert_image=0, p_retain_stats=1), 0.3),
    ]
    if not every:
        chances.insert(5, (Gamma(**gamma, p_invert_image=1, p_retain_stats=1), 0.1))
    flip = Mirror(tuple(range(len(sides))))
    images, labels = samples(shape)

    def make(number):
        np.random.seed(number)
        torch.manual_seed(number)
        changed = []
        # their changes overwrite what they are given
        for image, truth in zip(images.clone(), labels, strict=True):
            sample = move(image=image, segmentation=truth.to(torch.int16))
            for transform, chance in chances:
                if every or torch.rand(1).item() < chance:
                    sample = transform(**sample)
            changed.append(flip(**sample))
        return (
            torch.stack([one["image"] for one in changed]),
            torch.stack([one["segmentation"][0] for one in changed]).long(),
        )

    return make


WAYS = {
    "Condyle": condyles,
    "nnU-Net": nnunets,
    "nearest": lambda shape, mode: nnunets(shape, mode, "nearest"),
}


def timed(way):
    """Milliseconds a batch by shape and mode, of one way; runs in a child process."""
    import torch

    torch.set_num_threads(1)
    found = {}
    for shape, (sides, count) in SHAPES.items():
        for mode in MODES:
            make = WAYS[way](shape, mode)
            image, truth = make(0)  # and whatever is prepared once
            assert image.shape == (count, 1, *sides)
            assert truth.shape == (count, *sides)
            assert set(truth.unique().tolist()) <= set(range(CLASSES))
            start = time.process_time()
            for number in range(1, BATCHES + 1):
                make(number)
            found[f"{shape}, {mode}"] = 1e3 * (time.process_time() - start) / BATCHES
    print(json.dumps(found))


def run(way):
    done = subprocess.run(
        [sys.executable, __file__, way], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    ways = list(WAYS)
    if importlib.util.find_spec("batchgeneratorsv2") is None:
        print("batchgeneratorsv2 is not installed, there is nothing to compare with: Condyle alone")
        ways = ways[:1]
    rows = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way in ways:
            rows[way].append(run(way))
    median = {w: {k: statistics.median(r[k] for r in each) for k in each[0]}
              for w, each in rows.items()}  # fmt: skip
    print(f"processor time of a batch on one core; median of {ROUNDS} runs of {BATCHES} batches")
    for which, mine in median["Condyle"].items():
        theirs = "".join(
            f"; {way} {median[way][which]:6.1f} ms, ratio {mine / median[way][which]:.2f}"
            for way in ways[1:]
        )
        print(f"{which:22} Condyle {mine:6.1f} ms{theirs}")
    missed = [k for k, mine in median["Condyle"].items()
              if "nnU-Net" in median and mine > GOAL * median["nnU-Net"][k]]  # fmt: skip
    if missed:
        sys.exit(f"missed the goal, {GOAL} x the time of nnU-Net's: {', '.join(missed)}")


if __name__ == "__main__":
    timed(sys.argv[1]) if len(sys.argv) > 1 else main()
