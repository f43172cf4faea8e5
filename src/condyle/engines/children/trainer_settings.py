"""What nnU-Net's trainer is given of our settings, and what it really had, for the run's record.

What is not asked for stays nnU-Net's own.
"""

import math

import torch

RATES = {"sgd": 1e-2, "adam": 3e-4, "adamw": 3e-4}
"""Optimizer -> its rate where none is asked for: nnU-Net's own, and its variant Adam3en4's."""
DESCRIBED = {
    "SpatialTransform": ("rotation", "p_rotation", "scaling", "p_scaling", "p_elastic_deform"),
    "GaussianNoiseTransform": ("noise_variance",),
    "GaussianBlurTransform": ("blur_sigma",),
    "MultiplicativeBrightnessTransform": ("multiplier_range",),
    "ContrastTransform": ("contrast_range",),
    "SimulateLowResolutionTransform": ("scale",),
    "GammaTransform": ("gamma", "p_invert_image"),
    "MirrorTransform": ("allowed_axes",),
}
"""Kind of augmentation -> those of its values that a record has."""
NO_CHANGE = ("RemoveLabel", "DownsampleSegForDSTransform", "Convert")
"""What nnU-Net's pipeline has besides augmentation."""


class Schedule:
    """The rate of a trainer's optimizer, by how far the training is; as `condyle.train.schedule`.

    Without a warm-up, and without a budget, it changes with the epochs, as nnU-Net's own does.
    """

    def __init__(self, trainer):
        self.trainer = trainer

    def step(self, epoch=None):
        """Set the rate; `epoch` is only how nnU-Net calls it."""
        trainer = self.trainer
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * rate_factor(trainer.shape, trainer.progress())


def rate_factor(shape, progress):
    """The part of the full rate at a progress from 0 to 1.

    Parameters
    ----------
    shape : schedule, final_rate and warmup.
    """
    progress, warmup, final = min(max(progress, 0.0), 1.0), shape["warmup"], shape["final_rate"]
    if shape["schedule"] == "one-cycle":
        start, end = 1 / 25, 1 / 25e4
        if progress < warmup:
            return start + (1 - start) * (1 - half_wave(progress / warmup))
        return end + (1 - end) * half_wave((progress - warmup) / (1 - warmup))
    falls = {
        "constant": lambda part: 1.0,
        "cosine": half_wave,
        "poly": lambda part: (1 - part) ** 0.9,
        "linear": lambda part: 1 - part,
    }
    rise = min(1.0, (progress + 1e-3) / warmup) if warmup else 1.0
    return rise * (final + (1 - final) * falls[shape["schedule"]](progress))


def half_wave(progress):
    """From 1 to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def optimizer_of(name, parameters, rate, decay):
    """The optimizer; sgd with nnU-Net's momentum."""
    if name == "sgd":
        return torch.optim.SGD(
            parameters, rate, weight_decay=decay, momentum=0.99, nesterov=True
        )  # fmt: skip
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](
        parameters, rate, weight_decay=decay
    )


class OneHot(torch.nn.Module):
    """A loss of a channel a class, for targets (B, 1, ...) that hold the classes' numbers.

    Parameters
    ----------
    ignored : whether the highest number is a voxel that counts for nothing; then its channel is
        the last of the target's, as nnU-Net's losses want it.
    """

    def __init__(self, loss, ignored):
        super().__init__()
        self.loss, self.ignored = loss, ignored

    def forward(self, scores, target):
        """The loss of scores (B, classes, ...)."""
        channels = scores.shape[1] + self.ignored
        hot = torch.nn.functional.one_hot(target[:, 0].long(), channels).movedim(-1, 1)
        return self.loss(scores, hot.to(scores.dtype))


def loss_of(name, own, batch_dice, ignored):
    """The loss of this name.

    Parameters
    ----------
    own : nnU-Net's own for exclusive classes: Dice and cross-entropy.
    """
    if name == "bce+dice":
        from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss

        rules = {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False}
        return OneHot(DC_and_BCE_loss({}, rules, use_ignore_label=ignored), ignored)
    own.weight_dice, own.weight_ce = float("dice" in name), float("ce" in name.split("+"))
    return own


def loss_name(loss):
    """What a trainer's loss is called here."""
    loss = getattr(loss, "loss", loss) if type(loss).__name__ == "DeepSupervisionWrapper" else loss
    if isinstance(loss, OneHot):
        return "bce+dice"
    parts = {"dice": loss.weight_dice, "ce": loss.weight_ce}
    return "+".join(name for name, weight in parts.items() if weight)


def set_up(trainer, asked):
    """Give a trainer, before it is initialized, what is asked for.

    Parameters
    ----------
    asked : dotted name of a setting -> its value.
    """
    name = asked.get("training.optimizer", "sgd")
    if "training.optimizer" in asked and name != "sgd":
        trainer.initial_lr = RATES[name]
    trainer.optimizer_name = name
    trainer.initial_lr = asked.get("training.rate", trainer.initial_lr)
    trainer.weight_decay = asked.get("training.weight_decay", trainer.weight_decay)
    trainer.shape = {
        "schedule": asked.get("training.schedule", "poly"),
        "final_rate": asked.get("training.final_rate", 0.0),
        "warmup": asked.get("training.warmup", 0.0),
    }
    trainer.loss_asked = asked.get("training.loss", "dice+ce")
    trainer.oversample_foreground_percent = asked.get(
        "training.foreground", trainer.oversample_foreground_percent
    )
    # with two levels there is one inner output, and nnU-Net's weights of the outputs are 0 / 0
    deep = len(trainer.configuration_manager.pool_op_kernel_sizes) > 2
    trainer.enable_deep_supervision = deep and asked.get("network.deep_supervision", True)
    if "augmentation.flip" in asked:
        trainer.mirrored = asked["augmentation.flip"] == "all"


def facts(trainer, by_time):
    """What a trainer that is set up has: `settings` in our names, and the rest in nnU-Net's.

    Parameters
    ----------
    by_time : whether it ends by the clock; then neither epochs nor steps are settings.
    """
    plan = trainer.configuration_manager
    spans = {
        "training.epochs": trainer.num_epochs, "training.steps": trainer.num_iterations_per_epoch,
    }  # fmt: skip
    sides = trainer.inference_allowed_mirroring_axes
    settings = {
        **({} if by_time else spans),
        "training.loss": loss_name(trainer.loss),
        "training.optimizer": type(trainer.optimizer).__name__.lower(),
        "training.rate": trainer.initial_lr,
        "training.weight_decay": trainer.weight_decay,
        **{f"training.{name}": value for name, value in trainer.shape.items()},
        "training.batch": trainer.batch_size,
        "training.foreground": trainer.oversample_foreground_percent,
        "network.deep_supervision": trainer.enable_deep_supervision,
        "augmentation.flip": "all" if sides else "none",
    }
    rules = plan.network_arch_init_kwargs
    engine = {
        "trainer": type(trainer).__name__,
        "plans": trainer.plans_manager.plans_name,
        "configuration": trainer.configuration_name,
        "patch": list(plan.patch_size),
        "spacing": list(plan.spacing),
        "normalization": list(plan.normalization_schemes),
        "network": plan.network_arch_class_name.rpartition(".")[2],
        "features": list(rules["features_per_stage"]),
        "kernels": [str(kernel) for kernel in rules["kernel_sizes"]],
        "strides": [str(stride) for stride in rules["strides"]],
        "batch_dice": plan.batch_dice,
        "momentum": trainer.optimizer.param_groups[0].get("momentum", 0.0),
        "gradients_clipped_at": 12.0,
        "mixed_precision": trainer.device.type == "cuda",
        "mirrored_axes": list(sides or ()),
        "augmentation": trainer.augmentation,
    }
    return {"settings": settings, "engine": engine}


def described(pipeline):
    """A line for each change of nnU-Net's augmentation, with its values and its probability."""
    lines = []
    for step in pipeline.transforms:
        chance = getattr(step, "apply_probability", None)
        inner = step.transform if chance is not None else step
        kind = type(inner).__name__
        if kind.startswith(NO_CHANGE):
            continue
        words = [f"{spoken(name)} {plain(name, getattr(inner, name, None))}"
                 for name in DESCRIBED.get(kind, ())]  # fmt: skip
        words += [f"probability {chance:g}"] if chance is not None else []
        lines.append(f"{kind.removesuffix('Transform')}: {', '.join(words)}" if words else kind)
    return lines


def spoken(name):
    """The name of a value in words."""
    return name.replace("p_", "probability of ", 1).replace("_", " ")


def plain(name, value):
    """A number, or the two ends of a range; an angle in degrees."""
    value = getattr(value, "contrast_range", value)
    if isinstance(value, (tuple, list)) and value and not name.endswith("axes"):
        ends = [math.degrees(end) if name == "rotation" else end for end in value]
        unit = " degrees" if name == "rotation" else ""
        return f"{ends[0]:g} to {ends[-1]:g}{unit}"
    return f"{value:g}" if isinstance(value, float) else str(value)
