"""A trained model of nnU-Net's, in miniature: its folder, and its network with random weights."""

import json

import numpy as np
import torch
from torch import nn

NAME = {2: "2d", 3: "3d_fullres"}


def architecture(spatial):
    stages = [8, 16]
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 2, "features_per_stage": stages,
            "conv_op": f"torch.nn.modules.conv.Conv{spatial}d",
            "kernel_sizes": [[3] * spatial] * 2, "strides": [[1] * spatial, [2] * spatial],
            "n_conv_per_stage": [2, 2], "n_conv_per_stage_decoder": [2], "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{spatial}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None,
            "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip


def plans(spatial, **changes):
    usual = "resample_data_or_seg_to_shape"
    configuration = {
        "preprocessor_name": "DefaultPreprocessor", "patch_size": [16] * spatial,
        "spacing": [1.5] * spatial, "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False], "resampling_fn_data": usual,
        "resampling_fn_probabilities": usual, "architecture": architecture(spatial), **changes,
    }  # fmt: skip
    return {
        "dataset_name": "Dataset001_toy", "plans_name": "nnUNetPlans",
        "image_reader_writer": "NibabelIOWithReorient", "transpose_forward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": {"mean": 0.0, "std": 1.0}},
        "configurations": {NAME[spatial]: configuration},
    }  # fmt: skip


def model(folder, spatial=3, labels=None, **changes):
    """The folder of a trained model."""
    home = folder / f"nnUNetTrainer__nnUNetPlans__{NAME[spatial]}"
    (home / "fold_0").mkdir(parents=True)
    (home / "plans.json").write_text(json.dumps(plans(spatial, **changes)))
    names = labels or {"background": 0, "tibia": 1, "femur": 2}
    facts = {"channel_names": {"0": "MRI"}, "labels": names}
    (home / "dataset.json").write_text(json.dumps(facts))
    torch.manual_seed(0)
    network = original(spatial)
    checkpoint = {
        "network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": NAME[spatial]}, "_best_ema": np.float64(0.5),
        "inference_allowed_mirroring_axes": tuple(range(spatial)),
    }  # fmt: skip
    torch.save(checkpoint, home / "fold_0" / "checkpoint_final.pth")
    return home


def original(spatial):
    """The network as dynamic-network-architectures makes it, with decisive scores."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    given = architecture(spatial)["arch_kwargs"] | {"nonlin": nn.LeakyReLU}
    given["conv_op"] = {2: nn.Conv2d, 3: nn.Conv3d}[spatial]
    given["norm_op"] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[spatial]
    network = PlainConvUNet(1, num_classes=3, deep_supervision=False, **given).eval()
    with torch.no_grad():
        network.decoder.seg_layers[-1].weight.mul_(20)
    return network
