"""The script that a good engineer writes in a day: a plain 3D U-Net on whole volumes.

    python benchmarks/long/plain.py DATASET --out FOLDER [--fold 0] [--minutes 15] [--seed 0]

For scans that fit into the network whole and have nearly the same voxel size. It reads the fold's
training cases, trains until the minutes are over and writes label maps of the test cases;
`condyle evaluate FOLDER DATASET --fold 0 --out SCORES` scores them.
"""

import argparse
import copy
import os
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from rivals import split
from torch import nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, one_hot, pad

from condyle.io import open_dataset
from condyle.jobs.process import ROOMY
from condyle.networks.device import pick_device
from condyle.networks.precision import bf16_pays

FEATURES = (16, 32, 64, 128)
BATCH, RATE, WARM_UP, DECAY = 4, 2e-3, 0.03, 0.995
STEP = 2 ** (len(FEATURES) - 1)


def block(before, after, stride=1):
    """Two convolutions, each with instance norm and leaky ReLU."""
    layers = []
    for channels, step in ((before, stride), (after, 1)):
        layers += [nn.Conv3d(channels, after, 3, step, 1, bias=False)]
        layers += [nn.InstanceNorm3d(after, affine=True), nn.LeakyReLU(0.01, inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        wide, deep = FEATURES[:-1], FEATURES[1:]
        self.first = block(channels, FEATURES[0])
        self.down = nn.ModuleList(block(a, b, 2) for a, b in zip(wide, deep, strict=True))
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(b, a, 2, 2) for a, b in zip(wide, deep, strict=True)
        )
        self.merge = nn.ModuleList(block(2 * a, a) for a in wide)
        self.head = nn.Conv3d(FEATURES[0], classes, 1)

    def forward(self, x):
        levels = [self.first(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = merge(torch.cat([up(x), levels.pop()], 1))
        return self.head(x)


def read_image(case):
    """Channels (C, i, j, k) with mean 0 and standard deviation 1, each by itself."""
    channels = [nib.load(path).get_fdata(dtype=np.float32) for path in case.images]
    return np.stack([(c - c.mean()) / max(c.std(), 1e-6) for c in channels])


def read_labels(case, ids):
    """Class indices (i, j, k)."""
    return np.searchsorted(ids, np.round(nib.load(case.label).get_fdata())).astype(np.int64)


def padded(array, sides):
    """The array with zeros around its last three axes, to these sides at least."""
    more = [max(side - n, 0) for side, n in zip(sides, array.shape[-3:], strict=True)]
    around = [(m // 2, m - m // 2) for m in more]
    return np.pad(array, [(0, 0)] * (array.ndim - 3) + around)


def sample(image, target, sides):
    """A whole scan, padded to the sides of a sample; where it is larger, a piece of it."""
    image, target = padded(image, sides), padded(target, sides)
    starts = [int(torch.randint(n - s + 1, ())) for n, s in zip(target.shape, sides, strict=True)]
    piece = tuple(slice(start, start + s) for start, s in zip(starts, sides, strict=True))
    return torch.from_numpy(image[:, *piece]), torch.from_numpy(target[piece])


def rounded(sides):
    """The sides, up to the next that the network can halve on each level."""
    return [-(-int(side) // STEP) * STEP for side in sides]


def uniform(low, high, *shape):
    return low + (high - low) * torch.rand(*shape)


def changed(image, target, mirror):
    """A batch turned by 15 degrees, scaled by a fifth, mirrored, brighter or darker: at random."""
    count, sides = len(image), torch.tensor(image.shape[-1:1:-1], dtype=torch.float32)
    angles = torch.deg2rad(uniform(-15, 15, count, 3)) * (torch.rand(count, 1) < 0.5)
    turn = torch.eye(3).expand(count, 3, 3)
    for axis in range(3):
        a, b = [other for other in range(3) if other != axis]
        cos, sin = angles[:, axis].cos(), angles[:, axis].sin()
        one = torch.eye(3).repeat(count, 1, 1)
        one[:, a, a], one[:, a, b], one[:, b, a], one[:, b, b] = cos, -sin, sin, cos
        turn = turn @ one
    scale = torch.where(torch.rand(count) < 0.5, uniform(0.8, 1.2, count), torch.ones(count))
    turn = turn * scale[:, None, None] * sides / sides[:, None]  # the grid runs from -1 to 1
    grid = affine_grid(pad(turn, (0, 1)), list(image.shape), align_corners=False)
    image = grid_sample(image, grid, "bilinear", "zeros", align_corners=False)
    target = grid_sample(target[:, None].float(), grid, "nearest", "zeros", align_corners=False)
    target = target[:, 0].long()
    for n in torch.nonzero(torch.rand(count) < 0.5).flatten().tolist():
        image[n], target[n] = image[n].flip(1), mirror[target[n].flip(0)]
    shape = (count, 1, 1, 1, 1)
    image = image * uniform(0.75, 1.25, *shape) + uniform(-0.2, 0.2, *shape)
    return image + uniform(0, 0.1, *shape) * torch.randn_like(image), target


def loss_of(scores, target):
    """Cross-entropy and 1 - soft Dice over the batch."""
    scores = scores.float()
    found = scores.softmax(1)[:, 1:]
    truth = one_hot(target, scores.shape[1]).movedim(-1, 1)[:, 1:]
    over = (0, 2, 3, 4)
    dice = (2 * (found * truth).sum(over) + 1) / (found.sum(over) + truth.sum(over) + 1)
    return cross_entropy(scores, target) + 1 - dice.mean()


class Setting:
    """Device and numbers with which the network is fast here."""

    def __init__(self):
        self.device = pick_device()
        self.half = bf16_pays(self.device)

    def placed(self, tensor):
        return tensor.to(self.device, memory_format=torch.channels_last_3d)

    def numbers(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)


def trained(network, cases, sides, mirror, setting, end):
    """The average of the weights over the last steps, when the time is over."""
    average = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    begin, steps, waiting = time.monotonic(), 0, torch.empty(0, dtype=torch.long)
    while (used := (time.monotonic() - begin) / (end - begin)) < 1:
        while len(waiting) < BATCH:
            waiting = torch.cat([waiting, torch.randperm(len(cases))])
        chosen, waiting = waiting[:BATCH], waiting[BATCH:]
        pairs = [sample(*cases[n], sides) for n in chosen]
        image, target = changed(*(torch.stack(each) for each in zip(*pairs, strict=True)), mirror)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (used + 1e-3) / WARM_UP) * (1 - used) ** 0.9
        with setting.numbers():
            scores = network(setting.placed(image))
        loss = loss_of(scores, target.to(setting.device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
        part = 1 - min(DECAY, (1 + steps) / (10 + steps))
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), network.parameters(), strict=True):
                mine.lerp_(theirs, part)
        steps += 1
        if steps % 50 == 1:
            print(f"step {steps}, {used:.0%} of the time, loss {loss.item():.3f}", flush=True)
    print(f"{steps} steps")
    return average


@torch.no_grad()
def segmented(network, image, sides, setting):
    """Class indices (i, j, k) of an image (C, i, j, k)."""
    shape = image.shape[1:]
    whole = padded(image, np.maximum(rounded(shape), sides))
    with setting.numbers():
        scores = network(setting.placed(torch.from_numpy(whole)[None]))[0]
    starts = [(a - b) // 2 for a, b in zip(whole.shape[1:], shape, strict=True)]
    inside = tuple(slice(s, s + n) for s, n in zip(starts, shape, strict=True))
    return scores.argmax(0).cpu().numpy()[inside]


def main():
    started = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    data = open_dataset(given.dataset)
    train, held_out = (data.select(part) for part in split(given.dataset, given.fold))
    ids = np.array([0, *data.scheme.ids], np.uint8)
    mirrored = data.scheme.mirrored()
    mirror = torch.tensor([int(np.searchsorted(ids, mirrored.get(int(i), int(i)))) for i in ids])
    cases = [(read_image(case), read_labels(case, ids)) for case in train]
    sides = rounded(np.median([target.shape for _, target in cases], axis=0))
    setting = Setting()
    network = setting.placed(UNet(len(cases[0][0]), len(ids)))
    average = trained(network, cases, sides, mirror, setting, started + 60 * given.minutes)
    given.out.mkdir(parents=True, exist_ok=True)
    for case in held_out:
        classes = segmented(average, read_image(case), sides, setting)
        affine = nib.load(case.images[0]).affine
        nib.save(nib.Nifti1Image(ids[classes], affine), given.out / f"{case.id}.nii.gz")


if __name__ == "__main__":
    if sys.platform.startswith("linux") and not any(name in os.environ for name in ROOMY):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ROOMY)
    main()
