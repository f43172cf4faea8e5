"""nnU-Net's 3d_fullres trainer, fold 0 of data set 1, stopped by time. Needs nnU-Net 2.8 alone.

    nnUNet_raw=... nnUNet_preprocessed=... nnUNet_results=... python nnunet_by_time.py --minutes 15

Network, plans, augmentation, loss and optimizer are nnU-Net's. Its polynomial decay goes by the
share of the minutes that is used, and its running validation is left out, so that all minutes go
into training. Then its own predictor segments the cases that the fold holds out.
"""

import argparse
import json
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprints,
    plan_experiments,
    preprocess,
)
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

CONFIGURATION = "3d_fullres"
SPLITS = "splits_final.json"


class TrainerByTime(nnUNetTrainer):
    minutes = 15.0

    def run_training(self):
        self.on_train_start()
        self.network.train()
        steps, started = 0, time.monotonic()
        while (used := (time.monotonic() - started) / (60 * self.minutes)) < 1:
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (1 - used) ** 0.9
            loss = self.train_step(next(self.dataloader_train))["loss"]
            steps += 1
        self.print_to_log_file(f"{steps} iterations, the last with loss {loss:.3f}")
        self.on_train_end()


def prepared():
    """The folder of the preprocessed data set; made at the first call."""
    (raw,) = Path(nnUNet_raw).glob("Dataset001_*")
    folder = Path(nnUNet_preprocessed) / raw.name
    if not (folder / SPLITS).is_file():
        workers = os.cpu_count() or 1
        extract_fingerprints([1], num_processes=workers)
        plan_experiments([1])
        preprocess([1], configurations=[CONFIGURATION], num_processes=[workers])
        shutil.copy(raw / SPLITS, folder)
    return folder


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = prepared()
    for seeded in (random.seed, np.random.seed, torch.manual_seed):
        seeded(given.seed)
    trainer = TrainerByTime(
        plans={**json.loads((folder / "nnUNetPlans.json").read_text()), "continue_training": False},
        configuration=CONFIGURATION,
        fold=0,
        dataset_json=json.loads((folder / "dataset.json").read_text()),
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    trainer.minutes = given.minutes
    trainer.run_training()
    trainer.perform_actual_validation()


if __name__ == "__main__":
    main()
