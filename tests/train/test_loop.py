import copy
import math
import signal
from itertools import pairwise

import numpy as np
import pytest
import torch

from condyle.config import Augmentation, Network, Training
from condyle.errors import OutOfMemory, TrainingFailed, TrainingPaused, UnreadableFile
from condyle.networks import build
from condyle.train import Batches, TrainingCase, fit, steps_per_epoch
from condyle.train.schedule import SCHEDULES, Clock, rate_factor
from small_disk import fill, small_disk


def blobs(seed):
    """A bright disc in noise, in every slice."""
    rng = np.random.default_rng(seed)
    i, j, _ = np.indices((32, 32, 6))
    labels = ((i - rng.integers(12, 20)) ** 2 + (j - rng.integers(12, 20)) ** 2 < 40).astype(
        np.uint8
    )
    image = (labels + 0.3 * rng.normal(size=labels.shape)).astype(np.float32)[None]
    return TrainingCase(str(seed), image, labels, (1.0, 1.0, 1.0))


def setting(name="unet-resnet18", patch=(32, 32, 1), batch=4, **settings):
    torch.manual_seed(0)
    network, _ = build(name, 1, 2, "none")
    training = Training(**{"epochs": 3, "batch": batch, "rate": 3e-3, "ema": 0.9, **settings})
    batches = Batches([blobs(0), blobs(1)], patch, batch, Augmentation(), (0, 1), 0.5, seed=0)
    return network, batches, training


def weights(network):
    return torch.cat([p.flatten().float() for p in network.state_dict().values()])


@pytest.mark.precision
@pytest.mark.parametrize(
    ("name", "patch"), [("unet-resnet18", (32, 32, 1)), ("3d:unet-plain", (32, 32, 6))]
)
def test_training_learns_a_bright_disc(tmp_path, name, patch):
    network, batches, training = setting(name, patch, epochs=4)
    history = fit(network, batches, training, Network(), steps=10, seconds=None, folder=tmp_path)
    assert [row["epoch"] for row in history.rows] == [0, 1, 2, 3]
    assert history.stopped == "all epochs are done"
    unseen = blobs(7)
    x = torch.from_numpy(unseen.image)[None]
    x = x if network.spatial == 3 else x[..., 2]
    truth = unseen.labels if network.spatial == 3 else unseen.labels[..., 2]
    with torch.no_grad():
        found = network(x)[0].argmax(0).numpy()
    assert 2 * (found * truth).sum() / (found.sum() + truth.sum()) > 0.85


def test_deep_supervision_trains_and_leaves_a_plain_network(tmp_path):
    _, batches, training = setting(epochs=3)
    name = "unetplusplus-resnet18"
    network, _ = build(name, 1, 2, "none", deep_supervision=True)
    history = fit(network, batches, training, Network(), steps=6, seconds=None, folder=tmp_path)
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]
    plain, _ = build(name, 1, 2, "none")
    plain.load_state_dict(network.state_dict())
    x = torch.randn(1, 1, 20, 33)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(x), network(x))


@pytest.mark.precision
def test_an_interrupted_training_ends_with_the_weights_of_one_that_was_not(tmp_path):
    network, batches, training = setting()
    fit(network, batches, training, Network(), steps=4, seconds=None, folder=tmp_path / "whole")

    class PowerFailure(Exception):
        pass

    def fail(moment):
        if moment.step == 7:
            raise PowerFailure

    cut, batches, training = setting()
    with pytest.raises(PowerFailure):
        fit(
            cut,
            batches,
            training,
            Network(),
            steps=4,
            seconds=None,
            folder=tmp_path / "cut",
            on_step=fail,
        )
    again, batches, training = setting()
    history = fit(
        again,
        batches,
        training,
        Network(),
        steps=4,
        seconds=None,
        folder=tmp_path / "cut",
        resume=True,
    )
    assert len(history.rows) == 3
    assert torch.equal(weights(network), weights(again))


def test_the_best_epoch_by_validation_is_kept_and_patience_ends_it(tmp_path):
    network, batches, training = setting(epochs=50, patience=2)
    seen, scores = [], iter([0.3, 0.8, 0.5, 0.6, 0.9])

    def validate(candidate):
        seen.append(weights(candidate))
        return {"dice": next(scores)}

    history = fit(
        network,
        batches,
        training,
        Network(),
        steps=2,
        seconds=None,
        folder=tmp_path,
        validate=validate,
    )
    assert history.best_epoch == 1
    assert "2 epochs" in history.stopped
    assert len(history.rows) == 4
    torch.testing.assert_close(weights(network), seen[1])


def test_a_frozen_encoder_stays_bit_for_bit_until_its_epoch(tmp_path):
    for after, still in ((None, True), (1, False)):
        network, batches, training = setting(ema=0)
        before = weights(network.encoder).clone()
        settings = Network(freeze="encoder", unfreeze_after=after)
        fit(
            network,
            batches,
            training,
            settings,
            steps=2,
            seconds=None,
            folder=tmp_path / str(after),
        )
        assert torch.equal(before, weights(network.encoder)) is still


def test_a_loss_that_is_no_number_ends_with_a_sentence_and_keeps_the_checkpoint(tmp_path):
    network, batches, training = setting()
    fit(network, batches, training, Network(), steps=2, seconds=None, folder=tmp_path)
    kept = (tmp_path / "last.safetensors").read_bytes()
    network, batches, training = setting(rate=1e30, warmup=0)
    with pytest.raises(TrainingFailed, match=r"lower training\.rate"):
        fit(network, batches, training, Network(), steps=4, seconds=None, folder=tmp_path)
    assert (tmp_path / "last.safetensors").read_bytes() == kept


def test_a_single_bad_step_is_passed_over(tmp_path):
    network, batches, training = setting(epochs=1)

    class OneBadBatch:
        def epoch(self, epoch, steps, first=0):
            for number, (image, target) in enumerate(batches.epoch(epoch, steps, first)):
                yield (image * math.nan if number == 1 else image), target

    history = fit(
        network, OneBadBatch(), training, Network(), steps=4, seconds=None, folder=tmp_path
    )
    assert math.isfinite(history.rows[-1]["loss"])
    assert all(bool(torch.isfinite(p).all()) for p in network.parameters())


def ask_to_stop_at(step):
    """What a signal does at that step."""

    def ask(moment):
        if moment.step == step:
            signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)

    return ask


def test_a_signal_pauses_and_resume_ends_with_the_same_weights(tmp_path):
    whole, batches, training = setting()
    fit(whole, batches, training, Network(), steps=4, seconds=None, folder=tmp_path / "whole")

    rules = {"steps": 4, "seconds": None, "folder": tmp_path / "cut"}
    cut, batches, training = setting()
    with pytest.raises(TrainingPaused, match="`resume`"):
        fit(cut, batches, training, Network(), on_step=ask_to_stop_at(6), **rules)
    seen = []
    again, batches, training = setting()
    fit(again, batches, training, Network(), resume=True, on_step=seen.append, **rules)
    assert seen[0].step > 6  # from the step it was at, not from the epoch's start
    assert torch.equal(weights(whole), weights(again))


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(tmp_path, caplog):
    network, batches, training = setting("unet-plain", epochs=2)
    with small_disk(tmp_path / "run", "256m") as folder:
        rules = {"steps": 2, "seconds": None, "folder": folder}

        def fill_after_the_first_epoch(moment):
            if moment.step == 3:
                fill(folder)

        history = fit(
            network, batches, training, Network(), on_step=fill_after_the_first_epoch, **rules
        )
        assert history.stopped == "all epochs are done"
        assert "No space left" in caplog.text
        (folder / "filler").unlink()
        seen = []
        again, batches, training = setting("unet-plain", epochs=2)
        fit(again, batches, training, Network(), resume=True, on_step=seen.append, **rules)
        assert seen[0].step > 2  # from the first epoch's checkpoint
        assert torch.equal(weights(network), weights(again))


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path, caplog):
    whole, batches, training = setting()
    fit(whole, batches, training, Network(), steps=2, seconds=None, folder=tmp_path / "whole")
    rules = {"steps": 2, "seconds": None, "folder": tmp_path / "cut"}
    cut, batches, training = setting()
    with pytest.raises(TrainingPaused):
        fit(cut, batches, training, Network(), on_step=ask_to_stop_at(3), **rules)
    last = tmp_path / "cut" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:1000])
    again, batches, training = setting()
    fit(again, batches, training, Network(), resume=True, **rules)
    assert "the one before it" in caplog.text
    assert torch.equal(weights(whole), weights(again))


def test_a_training_that_has_ended_keeps_one_checkpoint(tmp_path):
    network, batches, training = setting()
    fit(network, batches, training, Network(), steps=2, seconds=None, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_too_large_a_batch_is_said_with_its_size(tmp_path):
    network, batches, training = setting()

    def no_memory(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    network.decoder.register_forward_hook(no_memory)
    with pytest.raises(OutOfMemory, match=r"a batch of 4 samples .*`training.batch`"):
        fit(network, batches, training, Network(), steps=2, seconds=None, folder=tmp_path)


def test_the_loss_can_choose_the_best_weights(tmp_path):
    network, batches, training = setting(epochs=3, best_by="loss")
    scores = iter(
        [{"dice": 0.9, "loss": 0.5}, {"dice": 0.1, "loss": 0.2}, {"dice": 1.0, "loss": 9}]
    )
    history = fit(
        network, batches, training, Network(), steps=2, seconds=None, folder=tmp_path,
        validate=lambda n: next(scores),
    )  # fmt: skip
    assert (history.best_epoch, history.best_dice) == (1, 0.1)


@pytest.mark.parametrize(
    ("error", "schedule", "epoch"),
    [(0.05, "cosine", 2), (math.inf, "cosine", 2), (0.01, "cosine", 0), (0.05, "constant", 0)],
)
def test_earlier_weights_must_be_better_by_more_than_chance(tmp_path, error, schedule, epoch):
    network, batches, training = setting(epochs=3, schedule=schedule)
    scores = iter([0.84, 0.80, 0.82])
    seen = []

    def validate(average):
        seen.append(copy.deepcopy(average.state_dict()))
        return {"dice": next(scores), "loss": 1.0, "error": error}

    history = fit(
        network, batches, training, Network(), steps=2, seconds=None, folder=tmp_path,
        validate=validate,
    )  # fmt: skip
    assert (history.best_epoch, history.best_dice) == (epoch, [0.84, 0.80, 0.82][epoch])
    for name, values in network.state_dict().items():
        assert torch.equal(values, seen[epoch][name]), name
    assert "validation_error" not in history.rows[-1]


def test_each_epoch_tells_dice_and_iou_of_its_own_samples(tmp_path):
    network, batches, training = setting(epochs=4)
    rows = fit(network, batches, training, Network(), steps=8, seconds=None, folder=tmp_path).rows
    assert all(row["iou"] == pytest.approx(row["dice"] / (2 - row["dice"])) for row in rows)
    assert rows[-1]["dice"] > max(rows[0]["dice"], 0.5)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    network, batches, training = setting()
    fit(network, batches, training, Network(), steps=2, seconds=None, folder=tmp_path)
    other, batches, training = setting("unet-plain")
    with pytest.raises(UnreadableFile, match="another network"):
        fit(
            other, batches, training, Network(), steps=2, seconds=None, folder=tmp_path, resume=True
        )


def test_a_budget_ends_the_training_whatever_the_epochs(tmp_path):
    network, batches, training = setting(epochs=None)
    moments = []
    history = fit(
        network, batches, training, Network(), steps=3, seconds=2.0, folder=tmp_path,
        validate=lambda n: {"dice": 0.5}, on_step=moments.append,
    )  # fmt: skip
    assert history.stopped == "the budget is used"
    assert "validation_dice" in history.rows[-1]
    assert moments[-1].progress == 1.0
    assert [m.progress for m in moments] == sorted(m.progress for m in moments)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_rise_in_the_warm_up_and_never_after(schedule):
    training = Training(schedule=schedule, warmup=0.1)
    rates = [rate_factor(training, n / 100) for n in range(101)]
    assert rates[0] < 0.05
    assert max(rates) <= 1
    after = rates[11:]
    assert all(a >= b for a, b in pairwise(after))


def test_a_clock_by_steps_and_one_by_seconds():
    assert Clock(10, None).progress(5) == 0.5
    assert Clock(None, 100.0, spent=50.0).progress(0) == pytest.approx(0.5, abs=0.01)
    assert Clock(None, 1.0, spent=50.0).progress(0) == 1.0


def test_an_epoch_sees_about_every_sample_once_within_bounds():
    assert steps_per_epoch(8, 800) == 100
    assert steps_per_epoch(8, 8) == 10
    assert steps_per_epoch(8, 10**6) == 250
    assert math.isfinite(steps_per_epoch(1, 0))
    assert steps_per_epoch(8, 10**6, "all") == 125_000
    assert steps_per_epoch(8, 9, "all") == 2
    assert steps_per_epoch(8, 9, 250) == 250
