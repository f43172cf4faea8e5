"""nnU-Net's side of the engine: plan, preprocess, train by time or epochs, predict.

    python run_nnunet.py JOB.json

Network, plans, augmentation, loss and optimizer are nnU-Net's own, unless the job says otherwise.
Its trainer is changed in what it lacks: a training that ends by the clock. Its learning rate then
falls by the share of the time that is used, so that the schedule is whole whatever else the machine
does.
"""

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw, nnUNet_results
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Original

sys.path.insert(0, str(Path(__file__).parent))  # its own folder alone, never the working one
from speech import run, say
from trainer_settings import Schedule, described, facts, loss_of, optimizer_of, set_up

MOST_FOR_PREDICTING = 0.25
"""Part of a budget that predicting with mirror images may take."""
ROUNDS = 30
"""Epochs of a training by the clock: rows of its history."""
CHECKPOINT, BEST = "checkpoint_final.pth", "checkpoint_best.pth"
LATEST, PROGRESS = "checkpoint_latest.pth", "progress.json"
"""What an interrupted training goes on from, after each epoch."""
LAST = "seg_layers"
"""The layers that give the classes' scores have this in their names."""
FINE_RATE = 1e-3
FROZEN = 0.1
"""Part of a fine-tuning in which only the last layers learn."""
WORKERS = "nnUNet_n_proc_DA"
LOWRES = "3d_lowres"
"""What is trained before a cascade: one network a fold, so that each case is seen by one that has
not learnt from it."""
LOGGED = {
    "loss": "train_losses",
    "validation_loss": "val_losses",
    "validation_dice": "mean_fg_dice",
}
"""Our columns -> nnU-Net's names."""


class TooLittleTime(Exception):
    """A budget that leaves nothing to train in."""


class Refused(Exception):
    """Something that is asked for and cannot be."""


class nnUNetTrainer(Original):  # noqa: N801  by this name nnU-Net's own commands find it again
    """nnU-Net's trainer, that also ends by the clock."""

    seconds = None
    started = 0.0
    mirrored = True
    frozen = 0.0
    steps = 0
    epoch_steps = 0
    augmentation = ()

    def configure_optimizers(self):
        """The optimizer that is asked for, and its schedule."""
        name, decay = self.optimizer_name, self.weight_decay
        made = optimizer_of(name, self.network.parameters(), self.initial_lr, decay)
        return made, Schedule(self)

    def _build_loss(self):
        """nnU-Net's loss, or the one that is asked for in its place, at each depth."""
        whole = super()._build_loss()
        rules = self.configuration_manager.batch_dice, self.label_manager.has_ignore_label
        if not self.enable_deep_supervision:
            return loss_of(self.loss_asked, whole, *rules)
        whole.loss = loss_of(self.loss_asked, whole.loss, *rules)
        return whole

    def get_training_transforms(self, *args, **kwargs):
        """nnU-Net's, which are noted for the record."""
        found = Original.get_training_transforms(*args, **kwargs)
        self.augmentation = described(found)
        return found

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):  # noqa: N802
        """nnU-Net's choice, without mirror images for networks that tell left from right."""
        found = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if self.mirrored:
            return found
        self.inference_allowed_mirroring_axes = None
        return (*found[:3], None)

    def freeze(self):
        """Let only the last layers learn at first, so that they do not spoil the others."""
        thawed = self.used() >= self.frozen
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(thawed or LAST in name)

    def used(self):
        """The part of the training that is over, from 0 to 1."""
        if self.seconds is None:
            return self.current_epoch / self.num_epochs
        return min((time.monotonic() - self.started) / self.seconds, 1.0)

    def progress(self):
        """How far the training is for the learning rate."""
        steps = self.epoch_steps / self.num_iterations_per_epoch if self.shape["warmup"] else 0.0
        return self.used() + (steps / self.num_epochs if self.seconds is None else 0.0)

    def save_checkpoint(self, filename):
        """nnU-Net's, whole or not at all."""
        super().save_checkpoint(f"{filename}.part")
        Path(f"{filename}.part").replace(filename)

    def go_on(self, latest):
        """Be as an interrupted training was after its last epoch; the stored state."""
        self.load_checkpoint(str(latest))
        state = json.loads(latest.with_name(PROGRESS).read_text())
        self.rows = state["rows"][: self.current_epoch]
        self.steps, self.seconds = self.rows[-1]["step"], state["seconds"]
        return state

    def run_training(self, **state):
        """Train until the epochs, or the seconds, are over.

        Parameters
        ----------
        state : what an interrupted training shall find again.
        """
        plot, self.logger.plot_progress_png = self.logger.plot_progress_png, lambda *_: None
        self.started = time.monotonic() - (self.rows[-1]["seconds"] if self.rows else 0.0)
        self.network.train()
        threads, _ = faster_threads(lambda: self.train_step(next(self.dataloader_train)))
        torch.set_num_threads(threads)
        while not self.rows or self.used() < 1:
            self.on_epoch_start()
            self.on_train_epoch_start()
            losses = self.trained_epoch()
            self.on_train_epoch_end(losses)
            with torch.no_grad():
                self.on_validation_epoch_start()
                looks = max(2, len(losses) // (5 if self.seconds is None else 20))
                seen = [self.validation_step(next(self.dataloader_val)) for _ in range(looks)]
                self.on_validation_epoch_end(seen)
            self.note(state)
            self.on_epoch_end()
        self.num_epochs = self.current_epoch
        plot(self.output_folder)
        self.on_train_end()

    def trained_epoch(self):
        """The losses of one epoch's steps."""
        losses = []
        if self.frozen:
            self.freeze()
        while not self.epoch_is_over(len(losses)):
            self.epoch_steps = len(losses)
            self.lr_scheduler.step()
            losses.append(self.train_step(next(self.dataloader_train)))
            self.steps += 1
            done = self.used()
            if self.seconds is None:
                done += len(losses) / self.num_iterations_per_epoch / self.num_epochs
            say("training", min(done, 0.999), f"loss {float(losses[-1]['loss']):.3f}")
        return losses

    def epoch_is_over(self, steps):
        """Whether an epoch ends after so many steps."""
        if self.seconds is None:
            return steps >= self.num_iterations_per_epoch
        return steps > 0 and self.used() >= min((self.current_epoch + 1) / ROUNDS, 1.0)

    def note(self, state):
        """Add what the epoch gave to the history."""
        values = {name: float(self.logger.get_value(key, step=-1)) for name, key in LOGGED.items()}
        dices = [float(d) for d in self.logger.get_value("dice_per_class_or_region", step=-1)]
        every = [dice for dice in dices if dice == dice]
        values["validation_iou"] = float(np.mean([d / (2 - d) for d in every])) if every else 0.0
        for structure, dice in zip(self.structures, dices, strict=True):
            values[f"validation_{structure}"] = dice
        values["rate"] = self.optimizer.param_groups[0]["lr"]
        seconds = time.monotonic() - self.started
        row = {"epoch": self.current_epoch, "step": self.steps, "seconds": round(seconds, 2)}
        self.rows.append(row | values)
        file = Path(self.output_folder) / PROGRESS
        state = {**state, "rows": self.rows, "seconds": self.seconds, "facts": self.facts}
        file.with_suffix(".part").write_text(json.dumps(state))
        file.with_suffix(".part").replace(file)


def main(job):
    """Do what the job says: train and predict, or predict."""
    for seeded in (random.seed, np.random.seed, torch.manual_seed):
        seeded(job.get("seed", 0))
    device = torch.device(job["device"] if job["device"] != "auto" else best_device())
    if job["do"] == "predict":
        predictor, first = predictor_of(Path(job["model"]), [0], device, job["mirror"]), None
        if job["before"]:
            model, folds = Path(job["before"]["model"]), job["before"]["folds"]
            first = predictor_of(model, folds, device, job["mirror"])
        return predicted(predictor, job, before=first)
    return trained(job, device)


def best_device():
    """The fastest kind of device here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def trained(job, device):
    """Plan, preprocess, train, and predict the held-out cases; or go on with that."""
    (raw,) = Path(nnUNet_raw).glob(f"Dataset{job['dataset']:03d}_*")
    folder, homes = Path(nnUNet_preprocessed) / raw.name, Path(nnUNet_results) / raw.name
    begun = next(homes.glob("*/fold_*/checkpoint_*.pth"), None)
    name = begun.parents[1].name.split("__")[1] if begun else prepared(job, raw, folder)
    folds, seconds = list(range(1, job.get("lowres_folds", 0) + 1)), 0.0
    known = {}
    for fold in folds:
        say(f"{LOWRES}, fold {fold} of {len(folds)}")
        _, state = fit(job, device, name, folder, LOWRES, fold)
        seconds += state["rows"][-1]["seconds"]
        had = state["facts"]["engine"]
        known = {LOWRES: {"folds": len(folds)} | {x: had[x] for x in ("patch", "spacing")}}
    home, state = fit(job, device, name, folder, job["configuration"], 0)
    predictor, before = predictor_of(home.parent, [0], device, state.get("mirror", True)), None
    lowres = homes / home.parent.name.replace(job["configuration"], LOWRES)
    if folds:
        before = predictor_of(lowres, folds, device, True)
    found = predicted(predictor, job, state.get("threads"), before)
    for left in homes.glob("*/fold_*/*"):
        if left.name in (BEST, LATEST, PROGRESS):
            left.unlink()
    return {
        "mirror": state.get("mirror", True),
        "model": str(home.parent),
        "lowres": str(lowres),
        "history": state["rows"],
        "seconds": seconds + state["rows"][-1]["seconds"],
        **state["facts"],
        "engine": {**state["facts"]["engine"], **known},
        **found,
    }


def fit(job, device, name, folder, configuration, fold):
    """The folder of a fold that is trained to its end, and what is known of its training."""
    trainer = trainer_of(job, device, name, folder, configuration, fold)
    home = Path(trainer.output_folder)
    latest, asked = home / LATEST, job.get("settings", {})
    start = job.get("start")
    base = read_start(start) if start else None
    if base:
        trainer.mirrored = start["mirror"] and base["inference_allowed_mirroring_axes"] is not None
        trainer.initial_lr, trainer.frozen = FINE_RATE, FROZEN
    set_up(trainer, asked)
    trainer.structures = job["structures"]
    if not (home / CHECKPOINT).is_file():
        trainer.rows, trainer.save_every = [], 1
        trainer.num_epochs = job["epochs"] or trainer.num_epochs
        trainer.num_iterations_per_epoch = job["steps"] or trainer.num_iterations_per_epoch
        trainer.on_train_start()
        adapted = asked.get("network.last_layer", "kept") == "kept"
        tensors = []
        if base:
            weights = base["network_weights"]
            tensors = take(trainer.network, weights, start["classes"], adapted)
        chosen = {}
        if latest.is_file():
            chosen = trainer.go_on(latest)
        elif job["deadline"]:
            trainer.seconds, chosen = seconds_for_fitting(trainer, job)
        trainer.facts = {
            **facts(trainer, trainer.seconds is not None),
            "tensors": tensors,
            "parameters": sum(p.numel() for p in trainer.network.parameters()),
        }
        trainer.facts["engine"] |= {
            "weights_taken": "best on validation cases" if base else "last",
            "only_last_layer_until": trainer.frozen,
        }
        trainer.run_training(**chosen)
        if base and (home / BEST).is_file():
            shutil.copy(home / BEST, home / CHECKPOINT)
    if configuration == LOWRES and job.get("lowres_folds"):
        hand_on(trainer)
    return home, json.loads((home / PROGRESS).read_text())


def trainer_of(job, device, name, folder, configuration, fold):
    """nnU-Net's trainer of a fold, before it is set up."""
    plans = json.loads((folder / f"{name}.json").read_text())
    batch = job.get("settings", {}).get("training.batch")
    if batch:
        plans["configurations"][configuration]["batch_size"] = batch
    homes = Path(nnUNet_results) / folder.name
    begun = homes / f"nnUNetTrainer__{name}__{configuration}" / f"fold_{fold}" / LATEST
    return nnUNetTrainer(
        plans={**plans, "continue_training": begun.is_file()},
        configuration=configuration,
        fold=fold,
        dataset_json=json.loads((folder / "dataset.json").read_text()),
        device=device,
    )


def hand_on(trainer):
    """Predict the cases that a fold has not learnt from, for the network that comes after it."""
    after = Path(trainer.output_folder_base) / "predicted_next_stage"
    _, held_out = trainer.do_split()
    there = {path.name.split(".")[0] for path in after.glob("*/*")}
    if set(held_out) <= there:
        return
    say("segmenting for the cascade")
    trainer.load_checkpoint(str(Path(trainer.output_folder) / CHECKPOINT))
    trainer.perform_actual_validation()


def prepared(job, raw, folder):
    """The name of the plans by which a data set was preprocessed into a folder."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        preprocess,
    )

    number, workers = job["dataset"], job["workers"]
    say("reading the scans")
    extract_fingerprints([number], num_processes=workers)
    if job.get("start"):
        plans = json.loads((Path(job["start"]["model"]) / "plans.json").read_text())
        name = plans["plans_name"]
        folder.mkdir(parents=True, exist_ok=True)
        plans["dataset_name"] = raw.name
        (folder / f"{name}.json").write_text(json.dumps(plans))
        shutil.copy(raw / "dataset.json", folder)
    else:
        name = planned(job)
    wanted = [job["configuration"]]
    there = json.loads((folder / f"{name}.json").read_text())["configurations"]
    if wanted[0] not in there:
        raise Refused(
            f"nnU-Net plans no {wanted[0]} for this data set, whose scans are not much larger than "
            "the patch of its 3d_fullres: take nnunet:3d_fullres"
        )
    if job.get("lowres_folds"):
        wanted = [LOWRES, there[wanted[0]]["inherits_from"]]
    say("preprocessing")
    preprocess([number], name, wanted, [workers] * len(wanted))
    shutil.copy(raw / "splits_final.json", folder)
    return name


def planned(job):
    """The name of the plans that nnU-Net makes for a data set."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiments

    say("planning")
    augmenting = os.environ[WORKERS]
    os.environ[WORKERS] = str(max(1, int(augmenting)))  # the planner fails on 0
    name = plan_experiments([job["dataset"]], job["planner"])
    os.environ[WORKERS] = augmenting
    return name


def read_start(start):
    """The checkpoint of a trained model, which its own package would load in the same way."""
    (file, *_) = sorted(Path(start["model"]).glob(f"fold_*/{CHECKPOINT}"))
    return torch.load(file, map_location="cpu", weights_only=False)


def take(network, given, classes, adapted):
    """Put a trained model's tensors into a network of other classes; what became of each.

    Parameters
    ----------
    classes : new class -> the old ones that make it; those of none start from random numbers.
    adapted : whether the last layer is made of the old one; else it starts from random numbers.
    """
    new, tensors = network.state_dict(), []
    for name, tensor in new.items():
        old = given.get(name)
        outcome = "kept"
        if old is None or old.shape[1:] != tensor.shape[1:] or (LAST in name and not adapted):
            outcome = "new"
        elif LAST in name:
            outcome = "adapted"
            tensor[0] = old[0]
            for number, others in classes.items():
                tensor[int(number)] = old[list(others)].mean(dim=0)
        elif old.shape != tensor.shape:
            outcome = "new"
        else:
            tensor.copy_(old)
        tensors.append(
            {"tensor": name, "shape": "x".join(map(str, tensor.shape)), "outcome": outcome}
        )
    network.load_state_dict(new)
    return tensors


def seconds_for_fitting(trainer, job):
    """What the deadline leaves for fitting, in seconds; and how it will be predicted then."""
    say("timing a prediction")
    first = next(iter(job["cases"].values()), None)
    reserve, chosen = 0.0, {}
    if first:
        predictor = nnUNetPredictor(device=trainer.device, allow_tqdm=False)
        network, parameters = trainer.network, trainer.network.state_dict()
        trainer.set_deep_supervision_enabled(False)
        predictor.manual_initialization(
            network, trainer.plans_manager, trainer.configuration_manager, [parameters],
            trainer.dataset_json, "nnUNetTrainer", trainer.inference_allowed_mirroring_axes,
        )  # fmt: skip
        chosen["threads"], seconds = faster_threads(
            lambda: predictor.predict_from_files_sequential([first], None)
        )
        trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
        reserve = 1.3 * seconds * len(job["cases"])
        if reserve > MOST_FOR_PREDICTING * job["budget"]:  # then without mirror images
            chosen["mirror"] = False
            reserve /= 2 ** len(trainer.inference_allowed_mirroring_axes or ())
    left = job["deadline"] - time.time() - reserve
    if left < 0.2 * job["budget"]:
        raise TooLittleTime(
            f"a budget of {job['budget']:g} s leaves {max(left, 0):.0f} s for fitting after "
            f"preprocessing and predicting {len(job['cases'])} cases ({reserve:.0f} s)"
        )
    return left, chosen


def faster_threads(work):
    """The number of threads, all or one, that some work is faster with here; and its seconds.

    Where other programs use the cores as well, the threads of small networks wait for one another.
    """
    every, spans = torch.get_num_threads(), {}
    for threads in (every, 1, every):  # the first time, libraries start
        torch.set_num_threads(threads)
        begun = time.monotonic()
        work()
        spans[threads] = time.monotonic() - begun
    torch.set_num_threads(every)
    best = min(spans, key=spans.get)
    return best, spans[best]


def predictor_of(model, folds, device, mirror):
    """nnU-Net's predictor with its own defaults, from a trained model's folder."""
    predictor = nnUNetPredictor(use_mirroring=mirror, device=device, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), folds, CHECKPOINT)
    return predictor


def predicted(predictor, job, threads=None, before=None):
    """Write a label map a case; which cases failed and why, and the seconds a case.

    Parameters
    ----------
    before : the predictor whose label maps the predictor sees, of a cascade.
    """
    out, failed, begun = Path(job["predictions"]), {}, time.monotonic()
    (out / "before" if before else out).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads or torch.get_num_threads())
    for number, (name, files) in enumerate(job["cases"].items()):
        say("segmenting", number / len(job["cases"]), f"{number}/{len(job['cases'])}")
        try:
            first = str(out / "before") if before else None
            if before:
                before.predict_from_files_sequential([files], [str(out / "before" / name)])
            predictor.predict_from_files_sequential(
                [files], [str(out / name)], folder_with_segs_from_prev_stage=first
            )
        except Exception as error:  # one bad case does not cost the others
            failed[name] = f"{type(error).__name__}: {error}"
    seconds = (time.monotonic() - begun) / max(len(job["cases"]), 1)
    return {"failed": failed, "seconds_a_case": seconds}


if __name__ == "__main__":
    run(main)
