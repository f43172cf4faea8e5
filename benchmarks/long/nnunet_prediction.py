"""The same 3D network, with the same weights, through nnU-Net's predictor and through Condyle.

    python benchmarks/long/nnunet_prediction.py --nnunet PYTHON --out FOLDER
        [--side 128] [--shape 192 160 160] [--runtime auto]

The network is nnU-Net's plain 3d_fullres one (6 stages, 32 to 320 features), with random weights,
as a TorchScript file for nnU-Net 2.8 (PYTHON has it), which looks through windows of `--side`
voxels half a side apart, without mirroring, in fp32 on the CPU. Each runs in its own process, one
after the other; times are those of preparing, looking and joining, libraries loaded.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

CLASSES = 5


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--nnunet", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--shape", type=int, nargs=3, default=[192, 160, 160])
    parser.add_argument("--runtime", default="auto", choices=["auto", "torch", "openvino"])
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        PARTS[given.part](given)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    write_scan_and_network(given)
    found = {}
    for part, python in (("nnunet", given.nnunet), ("condyle", sys.executable)):
        shape = [str(side) for side in given.shape]
        command = [python, __file__, "--nnunet", given.nnunet, "--out", given.out, "--part", part,
                   "--side", given.side, "--runtime", given.runtime]  # fmt: skip
        subprocess.run([*map(str, command), "--shape", *shape], check=True, env=os.environ)
        found[part] = json.loads((given.out / f"{part}.json").read_text())
    ours, theirs = found["condyle"], found["nnunet"]
    print(f"as fast as nnU-Net's predictor: {theirs['seconds'] / ours['seconds']:.1f} times")
    print(f"peak memory over nnU-Net's: {ours['gib'] / theirs['gib']:.2f}", end=" ")
    print(f"({ours['gib']:.1f} and {theirs['gib']:.1f} GiB)")
    a, b = (np.load(given.out / f"{part}.npy") for part in PARTS)
    print(f"voxels with the same label: {np.mean(a == b):.5f}")


def write_scan_and_network(given):
    """A smooth random scan, and the network as a Condyle segmenter and as TorchScript."""
    from condyle.config import Preparation
    from condyle.core import LabelScheme
    from condyle.networks import build
    from condyle.predict import Segmenter
    from condyle.prepare.recipe import Recipe
    from condyle.prepare.resample import resample_probabilities

    coarse = np.random.default_rng(0).normal(size=(1, *(side // 8 for side in given.shape)))
    np.save(given.out / "scan.npy", resample_probabilities(coarse, tuple(given.shape))[0])
    warnings.simplefilter("ignore")  # tracing tells of each `if`
    torch.manual_seed(0)
    network, _ = build("3d:unet-nnunet", 1, CLASSES, "none")
    network.eval()
    with torch.no_grad():  # every class wins somewhere, and not by a hair
        scores = network(torch.randn(1, 1, 64, 64, 64))
        head = network.segmentation_head[0]
        spread = scores.std(dim=(0, 2, 3, 4))
        head.weight *= (3 / spread)[:, None, None, None, None]
        head.bias.copy_((head.bias - scores.mean((0, 2, 3, 4))) * 3 / spread)
    scheme = LabelScheme.of({f"structure_{n}": n for n in range(1, CLASSES)})
    recipe = Recipe(Preparation(intensity="zscore", percentiles=(0, 100)))
    Segmenter(
        "3d:unet-nnunet", network, recipe, scheme, window=(given.side,) * 3
    ).save(given.out / "segmenter")  # fmt: skip
    example = torch.zeros(1, 1, *[given.side] * 3)
    with torch.no_grad():
        torch.jit.trace(network, example, check_trace=False).save(given.out / "network.pt")


def by_condyle(given):
    import condyle
    from condyle.core import Grid, Volume

    segmenter = condyle.load(given.out)
    scan = np.load(given.out / "scan.npy")
    started = time.monotonic()
    volume = Volume(scan, Grid.regular(scan.shape))
    labels = segmenter.segment(volume, runtime=given.runtime)
    say("condyle", given, time.monotonic() - started, labels.array)


def by_nnunet(given):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    linear = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    resample = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "plain", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": [given.side] * 3, "median_image_size_in_voxels": given.shape,
        "spacing": [1.0, 1.0, 1.0], "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False], "resampling_fn_data": resample,
        "resampling_fn_seg": resample, "resampling_fn_probabilities": resample,
        "resampling_fn_data_kwargs": linear, "resampling_fn_seg_kwargs": linear | {"is_seg": True},
        "resampling_fn_probabilities_kwargs": linear, "batch_dice": False,
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    }  # fmt: skip
    plans = {
        "dataset_name": "Dataset001_course", "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": given.shape, "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration}, "experiment_planner_used": "none",
        "label_manager": "LabelManager", "foreground_intensity_properties_per_channel": {"0": {}},
    }  # fmt: skip
    names = {"background": 0} | {f"structure_{n}": n for n in range(1, CLASSES)}
    dataset = {"channel_names": {"0": "MR"}, "labels": names, "file_ending": ".nii.gz"}
    network = torch.jit.load(given.out / "network.pt")
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=False, device=torch.device("cpu"),
        perform_everything_on_device=False, verbose=False, allow_tqdm=False,
    )  # fmt: skip
    manager = PlansManager(plans)
    predictor.manual_initialization(
        network, manager, manager.get_configuration("3d_fullres"), [network.state_dict()],
        dataset, "nnUNetTrainer", None,
    )  # fmt: skip
    scan = np.load(given.out / "scan.npy")
    started = time.monotonic()
    found = predictor.predict_single_npy_array(scan[None], {"spacing": [1.0, 1.0, 1.0]})
    say("nnunet", given, time.monotonic() - started, found)


PARTS = {"condyle": by_condyle, "nnunet": by_nnunet}


def peak_gib():
    """The most memory that this process has held; the system's own figure counts its parent's."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20


def say(part, given, seconds, labels):
    peak = peak_gib()
    np.save(given.out / f"{part}.npy", np.asarray(labels, np.uint8))
    (given.out / f"{part}.json").write_text(json.dumps({"seconds": seconds, "gib": peak}))


if __name__ == "__main__":
    main()
