"""A training step: Condyle's beside plain PyTorch in float32, the same network and weights.

Each side is a process of its own, Condyle's with the memory settings its command line takes; the
two take turns step by step, and the ratio of the medians is what counts. The peer's step is
forward, loss (Dice and cross-entropy), backward and AdamW. Condyle's is that of `condyle train`: it
also clips gradients, lets an average follow the weights, and keeps a tally of overlaps.
"""

import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import torch

CLASSES = 5
STEPS = 6
WARM_UP = 1


@dataclass(frozen=True)
class Course:
    """What both sides train, and how many times as fast Condyle is to be where AMX is."""

    network: str
    shape: tuple[int, ...]
    goal: float

    def sample(self):
        """Images and class indices, the same in every process."""
        made = torch.Generator().manual_seed(1)
        sides = (self.shape[0], *self.shape[2:])
        image = torch.randn(self.shape, generator=made)
        return image, torch.randint(CLASSES, sides, generator=made)


COURSES = {
    "2D U-Net ResNet-34, 256x256, batch 8": Course("unet-resnet34", (8, 1, 256, 256), 4.5),
    "3D U-Net ResNet-34, 64x64x64, batch 2": Course("3d:unet-resnet34", (2, 1, 64, 64, 64), 3.0),
}


def peers_network(course):
    """2D: segmentation-models-pytorch's; 3D: there is no peer's, so Condyle's own."""
    import segmentation_models_pytorch as smp

    from condyle import networks

    torch.manual_seed(0)
    if len(course.shape) == 4:
        return smp.Unet("resnet34", encoder_weights=None, in_channels=1, classes=CLASSES)
    return networks.build(course.network, 1, CLASSES, "none")[0]


def own_network(course):
    """Condyle's network with the weights of the peer's."""
    from condyle import networks

    state = peers_network(course).state_dict()
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(state, file.name)
        return networks.build(course.network, 1, CLASSES, file.name)[0]


def by_peer(course):
    """Plain PyTorch, as a script without further thought has it."""
    import segmentation_models_pytorch as smp

    network = peers_network(course)
    yield scores_of(network, course)
    network.train()
    image, target = course.sample()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    dice, entropy = smp.losses.DiceLoss("multiclass"), torch.nn.CrossEntropyLoss()
    for _ in numbers():
        started = time.perf_counter()
        scores = network(image)
        loss = dice(scores, target) + entropy(scores, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        yield time.perf_counter() - started


def by_condyle(course):
    """The step of `condyle train`, with its defaults."""
    from condyle.config import Network, Training
    from condyle.train import fabric_for
    from condyle.train.step import Step

    network = own_network(course)
    yield scores_of(network, course)
    fabric = fabric_for("cpu")
    network.train().to(memory_format=network.memory_format)
    settings = Network(name=course.network)
    step = Step(fabric, network, copy.deepcopy(network), Training(), settings)
    image, target = course.sample()
    for number in numbers():
        started = time.perf_counter()
        step(image, target, number, number / STEPS)
        yield time.perf_counter() - started


SIDES = {"plain float32": by_peer, "Condyle": by_condyle}


def numbers():
    """Of the steps, one each time that a line on standard input asks for it."""
    return (number for number, _ in enumerate(sys.stdin))


@torch.no_grad()
def scores_of(network, course):
    """A few scores in float32, which show that both sides have the same network and weights."""
    found = network.eval()(course.sample()[0][:1])
    return found.flatten()[:: found.numel() // 50].tolist()


class Side:
    """One side's process: it makes a step whenever it is asked to."""

    def __init__(self, name, course):
        from condyle.jobs.process import ROOMY

        usual = {key: value for key, value in os.environ.items() if key not in ROOMY}
        self.process = subprocess.Popen(
            [sys.executable, __file__, name, course],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=usual | (ROOMY if name == "Condyle" else {}),
        )
        self.scores = self.heard()

    def heard(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("one side failed")
        return json.loads(line)

    def step(self):
        """Seconds of one step."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.heard()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def raced(course):
    """Side -> median seconds of a step."""
    sides = {name: Side(name, course) for name in SIDES}
    one, other = (torch.tensor(side.scores) for side in sides.values())
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    seconds = {name: [] for name in SIDES}
    for _ in range(STEPS):
        for name, side in sides.items():
            seconds[name].append(side.step())
    for side in sides.values():
        side.end()
    return {name: statistics.median(each[WARM_UP:]) for name, each in seconds.items()}


def ceiling():
    """Way of computing -> GFLOP/s of one 3x3 convolution, 64 to 64 channels, here."""
    shape, flat = (8, 64, 64, 64), torch.channels_last
    flop = 2 * 9 * 64 * 64 * shape[0] * shape[2] * shape[3]
    ways = {
        "float32": (torch.float32, torch.contiguous_format),
        "float32 channels_last": (torch.float32, flat),
        "bfloat16 channels_last": (torch.bfloat16, flat),
    }
    found = {}
    for way, (kind, order) in ways.items():
        image = torch.randn(shape).to(kind).contiguous(memory_format=order)
        convolution = torch.nn.Conv2d(64, 64, 3, padding=1).to(kind, memory_format=order)
        seconds = []
        with torch.no_grad():
            for _ in range(8):
                started = time.perf_counter()
                convolution(image)
                seconds.append(time.perf_counter() - started)
        found[way] = flop / statistics.median(seconds[1:]) / 1e9
    return found


def main():
    from condyle.networks.precision import bf16_pays

    pays = bf16_pays(torch.device("cpu"))
    amx = torch.cpu._is_amx_tile_supported()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, "
        f"bfloat16 {'in AVX-512' if pays else 'not in AVX-512'}, {'AMX' if amx else 'no AMX'}"
    )
    speed = ceiling()
    print(
        "One convolution here: "
        + ", ".join(f"{way} {rate:.0f} GFLOP/s" for way, rate in speed.items())
    )
    print(
        f"so numbers and memory order can gain {max(speed.values()) / speed['float32']:.1f} x at "
        "most; memory settings come on top."
    )
    if not pays:
        print("bfloat16 does not pay on this processor: Condyle trains in float32 here.")
    print(f"\n| a step, median of {STEPS - WARM_UP} | {' | '.join(SIDES)} | ratio | goal |")
    print("|---|---|---|---|---|")
    missed = []
    for title, course in COURSES.items():
        median = raced(title)
        ratio = median["plain float32"] / median["Condyle"]
        goal = f"{course.goal} x" if amx else f"({course.goal} x with AMX)"
        cells = [f"{median[name]:.2f} s" for name in SIDES]
        print(f"| {title} | {' | '.join(cells)} | {ratio:.1f} x | {goal} |", flush=True)
        if amx and ratio < course.goal:
            missed.append(title)
    if missed:
        sys.exit(f"missed the goal: {'; '.join(missed)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for value in SIDES[sys.argv[1]](COURSES[sys.argv[2]]):
            print(json.dumps(value), flush=True)
    else:
        main()
