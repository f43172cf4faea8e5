"""A network's prediction: Condyle's runtimes beside plain PyTorch in float32, the same weights.

All take turns in one process; the ratio of the medians is what counts.
"""

import copy
import statistics
import sys
import tempfile
import time

import torch

from condyle.networks import build
from condyle.networks.precision import bf16_pays
from condyle.predict.runtimes.openvino import Graph, OpenVinoRuntime, bf16_here, version
from condyle.predict.runtimes.torch import TorchRuntime

CLASSES = 5
TURNS = 5
COURSES = {
    "2D U-Net ResNet-34, 256x256, batch 8": ("unet-resnet34", (8, 1, 256, 256)),
    "3D plain U-Net, 64x64x64, batch 2": ("3d:unet-plain", (2, 1, 64, 64, 64)),
}
GOALS = {"openvino fp32": 1.3, "openvino bf16": 8.0}


class Plain:
    """A network as a script without further thought runs it."""

    def __init__(self, network):
        self.network = network.eval()

    def probabilities(self, batch):
        with torch.no_grad():
            return self.network(batch).softmax(dim=1)


def networks(name):
    """The peer's network (2D: segmentation-models-pytorch's), and Condyle's with its weights."""
    torch.manual_seed(0)
    if name.startswith("3d:"):
        own, _ = build(name, 1, CLASSES, "none")
        return copy.deepcopy(own), own.eval()
    import segmentation_models_pytorch as smp

    peer = smp.Unet("resnet34", encoder_weights=None, in_channels=1, classes=CLASSES)
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(peer.state_dict(), file.name)
        own, _ = build(name, 1, CLASSES, file.name)
    return peer, own.eval()


def runtimes(name, batch):
    """Runtime -> what runs the network here."""
    peer, own = networks(name)
    found = {"plain torch fp32": Plain(peer), "torch fp32": TorchRuntime.of(own, "cpu", "fp32")}
    if bf16_pays(torch.device("cpu")):
        found["torch bf16"] = TorchRuntime.of(own, "cpu", "bf16")
    if version():
        graph = Graph.of(own)
        found["openvino fp32"] = OpenVinoRuntime(graph, "fp32")
        if bf16_here():
            found["openvino bf16"] = OpenVinoRuntime(graph, "bf16")
        if fewer := in_int8(graph, batch):
            found["openvino int8"] = OpenVinoRuntime(fewer, "int8")
    return found


def in_int8(graph, batch):
    """The network in int8, where nncf is installed."""
    try:
        import nncf
    except ImportError:
        return None
    from condyle.workflows.export import quantised

    return quantised(nncf, graph, [x.numpy() for x in batch.split(1)])


def main():
    print(
        f"torch {torch.__version__}, OpenVINO {version() or 'missing'}, "
        f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"bfloat16 {'is' if bf16_here() else 'is not'} fast here"
    )
    missed = []
    for title, (name, shape) in COURSES.items():
        batch = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        sides = runtimes(name, batch)
        expected, *_ = (side.probabilities(batch) for side in sides.values())
        apart = {
            key: float((x.probabilities(batch) - expected).abs().max()) for key, x in sides.items()
        }
        seconds = {key: [] for key in sides}
        for _ in range(TURNS):
            for key, side in sides.items():
                started = time.perf_counter()
                side.probabilities(batch)
                seconds[key].append(time.perf_counter() - started)
        usual = statistics.median(seconds["plain torch fp32"])
        print(f"\n| {title} | samples/s | x | a probability differs by at most | goal |")
        print("|---|---|---|---|---|")
        for key, spans in seconds.items():
            ratio, goal = usual / statistics.median(spans), GOALS.get(key)
            cells = [f"{len(batch) / statistics.median(spans):.2f}", f"{ratio:.2f}"]
            cells += [f"{apart[key]:.0e}", f"{goal} x" if goal else ""]
            print(f"| {key} | {' | '.join(cells)} |", flush=True)
            if goal and ratio < goal:
                missed.append(f"{key}: {title}")
    if missed:
        sys.exit(f"missed the goal: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
