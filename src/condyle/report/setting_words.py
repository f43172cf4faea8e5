"""Settings, and what is known of a run, in words for people who never saw the TOML file."""

from __future__ import annotations

from condyle.report import tables

__all__ = ["SETTING_WORDS", "words_of"]

SETTING_WORDS = {
    "dataset": "Data set",
    "fold": "Fold",
    "folds": "Folds",
    "seeds": "Seeds of random numbers",
    "ends": "Slices that count as an end of a structure",
    "device": "Computed on",
    "log": "Also logged to",
    "network.name": "Network",
    "network.weights": "First weights",
    "network.freeze": "Not trained",
    "network.unfreeze_after": "Frozen until epoch",
    "network.encoder_rate": "Encoder's learning rate, as a part of the decoder's",
    "network.deep_supervision": "Inner outputs trained as well",
    "network.last_layer": "Last layer at the start",
    "network.inflation.strategy": "2D kernels made 3D by",
    "network.inflation.alphas": "Weights of a kernel's slices (strategy scale)",
    "network.inflation.depth": "Depth of the 3D kernels",
    "network.inflation.keep_depth": "Levels that keep the depth",
    "network.inflation.axis": "Axis of the depth (4: feet to head)",
    "preparation.spacing": "Distance between voxels, mm (0: the scan's own)",
    "preparation.size": "Pixels along the longer side of a slice",
    "preparation.plane": "Plane of the slices",
    "preparation.intensity": "Intensities scaled by",
    "preparation.percentiles": "Clipped to these percentiles",
    "preparation.window": "Clipped to this window",
    "preparation.mean": "Mean that is subtracted",
    "preparation.std": "Standard deviation that is divided by",
    "preparation.interpolation": "Interpolation of scans",
    "preparation.crop": "Cut to",
    "training.loss": "Loss",
    "training.class_weights": "Weights of structures in the loss",
    "training.optimizer": "Optimizer",
    "training.rate": "Learning rate",
    "training.weight_decay": "Weight decay",
    "training.schedule": "Course of the learning rate",
    "training.final_rate": "Part of the learning rate left in the end",
    "training.rate_per_epoch": "Fall of the learning rate an epoch",
    "training.warmup": "Part of the training in which the rate rises",
    "training.epochs": "Epochs",
    "training.steps": "Steps an epoch",
    "training.budget": "Time for everything, s",
    "training.batch": "Samples a step (batch)",
    "training.patch": "Voxels of a sample (patch)",
    "training.foreground": "Part of the samples that hold a structure",
    "training.hard_slices": "Trained only on so many end slices",
    "training.ema": "Running average of the weights, decay",
    "training.best_by": "Best weights chosen by",
    "training.patience": "Stopped after so many validations without gain (0: never)",
    "training.seed": "Seed of random numbers",
    "augmentation.p": "Probability of each change",
    "augmentation.copies": "Changed copies of each sample",
    "augmentation.rotation": "Rotation up to, degrees",
    "augmentation.scaling": "Change of size up to (0.2: 20 %)",
    "augmentation.elastic": "Elastic displacement up to, mm",
    "augmentation.flip": "Mirrored",
    "augmentation.blur": "Blur up to, voxels",
    "augmentation.low_resolution": "Coarser voxels up to, times",
    "augmentation.brightness": "Brightness up to, standard deviations",
    "augmentation.contrast": "Contrast up to (0.25: 25 %)",
    "augmentation.gamma": "Gamma up to (0.3: 30 %)",
    "augmentation.noise": "Noise up to, standard deviations",
    "engine.program": "Program",
    "engine.trainer": "Trainer",
    "engine.plans": "Plans",
    "engine.configuration": "Configuration of its plans",
    "engine.patch": "Voxels of a sample (patch), in its order of axes",
    "engine.spacing": "Scans resampled to, mm, in its order of axes",
    "engine.normalization": "Intensities scaled by",
    "engine.network": "Network",
    "engine.features": "Features of each level",
    "engine.kernels": "Kernels of each level",
    "engine.strides": "Strides of each level",
    "engine.batch_dice": "Dice over the whole batch",
    "engine.momentum": "Momentum",
    "engine.gradients_clipped_at": "Gradients clipped at a norm of",
    "engine.mixed_precision": "Half precision where it suffices",
    "engine.mirrored_axes": "Mirrored along axes",
    "engine.augmentation": "Changes of a sample",
    "engine.weights_taken": "Weights taken",
    "engine.only_last_layer_until": "Part of the training in which only the last layer learns",
    "engine.epochs_trained": "Epochs trained",
    "engine.mirror_images_predicted": "Mirror images predicted too",
    "engine.task": "Task of TotalSegmentator",
    "engine.trained": "Trained",
    "weights": "First weights",
    "train": "Training cases",
    "validation": "Cases that choose the weights (validation)",
    "test": "Test cases (held out)",
    "reach_mm": "Longest labelled part of the body, mm",
    "ends_mm": "Trained only on ends of bones, mm (0: on all slices)",
    "modality": "Modality of the training scans",
    "pictures": "Trained on pictures, in pixels",
    "hounsfield": "Training scans in Hounsfield units",
    "lowest": "Darkest intensities of the training scans",
    "highest": "Brightest intensities of the training scans",
    "spacing": "Spacing of the training scans, mm",
    "extent": "Length of the training scans, mm",
    "mirroring": "Mirror images trained on",
    "best_epoch": "Best epoch",
    "validation_dice": "Dice on validation cases",
    "stopped": "Ended because",
    "trainer": "nnU-Net trainer",
    "time": "When",
    "condyle": "Condyle",
    "commit": "Commit",
    "python": "Python",
    "system": "System",
    "processor": "Processor",
    "cores": "Cores",
    "memory_gib": "Memory, GiB",
    "precision": "Numbers computed in",
    "encoder": "Encoder",
    "computed_by": "Computed by",
    "permutations": "Random places that regions were put at",
    "mode": "Regions shown",
    "pool": "Features averaged over",
}
"""Dotted name of a setting, or the end of one -> what a page calls it."""


SECTIONS = {"network", "preparation", "training", "augmentation", "settings"}


def words_of(name: str, group: str = "") -> str:
    """What a page calls a setting, by its dotted name or the longest known end of it.

    Parameters
    ----------
    name : dotted; what stands before the known end, such as a model's name, stays.
    group : the heading that it stands under, which is not said again.

    Examples
    --------
    >>> words_of("training.ema"), words_of("models.2D.training.ema", "models")
    ('Running average of the weights, decay', '2D: Running average of the weights, decay')
    >>> words_of("training.class_weights.left_femur", "training")
    'class weights left femur'
    """
    parts = name.removeprefix(f"{group}.").split(".")
    whole = name.split(".")
    for at in range(len(whole)):
        known = SETTING_WORDS.get(".".join(whole[at:]))
        if known:
            before = [part for part in whole[:at] if part not in SECTIONS and part != group]
            return f"{'.'.join(before)}: {known}" if before else known
    return tables.words(" ".join(parts))
