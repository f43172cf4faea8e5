"""The same 3D network, with the same weights, through nnU-Net's predictor and through Condyle.

    python benchmarks/long/nnunet_prediction.py --nnunet PYTHON --out FOLDER
        [--side 128] [--shape 192 160 160] [--runtime auto] [--single]

The network is nnU-Net's plain 3d_fullres one (6 stages, 32 to 320 features), with random weights,
in a model's folder as nnU-Net 2.8 leaves it (PYTHON has it); Condyle imports that folder. Windows
of `--side` voxels lie half a side apart, without mirroring, in fp32 on the CPU. Each runs in its
own process, one after the other; times are those of preparing, looking and joining, libraries
loaded. nnU-Net adds windows up in half precision; with --single in single precision, which tells
how many of the labels that differ are its rounding.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

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
    parser.add_argument("--single", action="store_true")
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
                   "--side", given.side, "--runtime", given.runtime,
                   *(["--single"] if given.single else [])]  # fmt: skip
        subprocess.run([*map(str, command), "--shape", *shape], check=True, env=os.environ)
        found[part] = json.loads((given.out / f"{part}.json").read_text())
    ours, theirs = found["condyle"], found["nnunet"]
    print(f"as fast as nnU-Net's predictor: {theirs['seconds'] / ours['seconds']:.1f} times")
    print(f"peak memory over nnU-Net's: {ours['gib'] / theirs['gib']:.2f}", end=" ")
    print(f"({ours['gib']:.1f} and {theirs['gib']:.1f} GiB)")
    a, b = (np.load(given.out / f"{part}.npy") for part in PARTS)
    print(f"voxels with the same label: {np.mean(a == b):.5f}")


def write_scan_and_network(given):
    """A smooth random scan, and a trained model's folder, also as a segmenter of Condyle's."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    from condyle.predict.nnunet_import import import_nnunet
    from condyle.prepare.resample import resample_probabilities

    coarse = np.random.default_rng(0).normal(size=(1, *(side // 8 for side in given.shape)))
    np.save(given.out / "scan.npy", resample_probabilities(coarse, tuple(given.shape))[0])
    known = {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
    torch.manual_seed(0)
    network = PlainConvUNet(1, num_classes=CLASSES, deep_supervision=False, **SHAPE | known).eval()
    with torch.no_grad():  # every class wins somewhere, and not by a hair
        scores = network(torch.randn(1, 1, 64, 64, 64))
        head = network.decoder.seg_layers[-1]
        spread = scores.std(dim=(0, 2, 3, 4))
        head.weight *= (3 / spread)[:, None, None, None, None]
        head.bias.copy_((head.bias - scores.mean((0, 2, 3, 4))) * 3 / spread)
    home = given.out / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    (home / "fold_0").mkdir(parents=True, exist_ok=True)
    (home / "plans.json").write_text(json.dumps(plans(given)))
    names = {"background": 0} | {f"structure_{n}": n for n in range(1, CLASSES)}
    facts = {"channel_names": {"0": "MR"}, "labels": names, "file_ending": ".nii.gz"}
    (home / "dataset.json").write_text(json.dumps(facts))
    checkpoint = {
        "network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"}, "inference_allowed_mirroring_axes": None,
    }  # fmt: skip
    torch.save(checkpoint, home / "fold_0" / "checkpoint_final.pth")
    import_nnunet(home, given.out)


SHAPE = {
    "n_stages": 6, "features_per_stage": [32, 64, 128, 256, 320, 320],
    "conv_op": "torch.nn.modules.conv.Conv3d", "kernel_sizes": [[3, 3, 3]] * 6,
    "strides": [[1, 1, 1], *[[2, 2, 2]] * 5], "n_conv_per_stage": [2] * 6,
    "n_conv_per_stage_decoder": [2] * 5, "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None,
    "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
}  # fmt: skip


def plans(given):
    """What nnU-Net's plans.json says of such a network."""
    resample = "resample_data_or_seg_to_shape"
    linear = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    unet = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    configuration = {
        "data_identifier": "plain", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": [given.side] * 3, "median_image_size_in_voxels": given.shape[::-1],
        "spacing": [1.0, 1.0, 1.0], "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False], "resampling_fn_data": resample,
        "resampling_fn_seg": resample, "resampling_fn_probabilities": resample,
        "resampling_fn_data_kwargs": linear | {"order": 3},
        "resampling_fn_seg_kwargs": linear | {"is_seg": True},
        "resampling_fn_probabilities_kwargs": linear, "batch_dice": False,
        "architecture": {
            "network_class_name": unet, "arch_kwargs": SHAPE,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }  # fmt: skip
    return {
        "dataset_name": "Dataset001_course", "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": given.shape[::-1],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration}, "experiment_planner_used": "none",
        "label_manager": "LabelManager", "foreground_intensity_properties_per_channel": {"0": {}},
    }  # fmt: skip


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

    if given.single:
        torch.half = torch.float32
    predictor = nnUNetPredictor(
        use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False,
        allow_tqdm=False,
    )  # fmt: skip
    (home,) = given.out.glob("*__*__*")
    predictor.initialize_from_trained_model_folder(str(home), [0], "checkpoint_final.pth")
    scan = np.load(given.out / "scan.npy")
    started = time.monotonic()
    axes = np.ascontiguousarray(scan.T)  # as its reader of NIfTI files has them
    found = predictor.predict_single_npy_array(axes[None], {"spacing": [1.0, 1.0, 1.0]})
    say("nnunet", given, time.monotonic() - started, found.T)


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
