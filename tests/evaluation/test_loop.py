"""The training loop goes on after a kill at any step with the bits of an undisturbed run."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from nas_domains.core.progress import Reporter
from nas_domains.evaluation import loop
from nas_domains.evaluation.loop import Meter, learning_rate, run_loop, set_learning_rate
from nas_domains.vision.spaces import nasbench201

STEPS, PER_EPOCH = 8, 3


class Killed(BaseException):
    """Stands for the kill: nothing catches it."""


class Training:
    """A network with dropout on data drawn from every global generator, and its record.

    Args:
        path: The checkpoint.
        kill: Called with ("before" | "after" | "epoch", number) at each such moment.
        make: Makes the network for inputs [B, 3, 5, 5] and two outputs.
    """

    def __init__(self, path, kill=lambda *_: None, make=None):
        torch.manual_seed(0)
        self.network = make() if make else nn.Sequential(
            nn.Flatten(), nn.Linear(75, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2)
        )  # fmt: skip
        self.optimizer = torch.optim.SGD(self.network.parameters(), 0.1, momentum=0.9)
        self.meter = Meter()
        self.path, self.kill = path, kill
        self.steps, self.epochs = [], {}

    def step(self, number):
        self.kill("before", number)
        self.steps.append(number)
        x = torch.randn(4, 3, 5, 5) + float(np.random.rand()) + random.random()
        self.optimizer.zero_grad()
        set_learning_rate(self.optimizer, learning_rate(number, STEPS, 0.1, 0.25))
        loss = self.network(x).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.meter.add(loss=loss)
        self.kill("after", number)

    def epoch_end(self, number):
        self.epochs[number] = (self.meter.means(), self.meter.count)
        self.kill("epoch", number)
        return f"epoch {number}"

    def run(self, steps=STEPS, seed=5):
        run_loop(
            stage="a stage",
            seed=seed,
            steps=steps,
            steps_per_epoch=PER_EPOCH,
            state={"network": self.network, "optimizer": self.optimizer},
            step=self.step,
            epoch_end=self.epoch_end,
            meter=self.meter,
            path=self.path,
            reporter=Reporter(quiet=True),
        )
        return self

    def bits(self):
        momentum = [s["momentum_buffer"] for s in self.optimizer.state_dict()["state"].values()]
        return [*self.network.state_dict().values(), *momentum]


def assert_same_bits(one, other):
    for a, b in zip(one.bits(), other.bits(), strict=True):
        assert torch.equal(a, b)


def kill_at(moment):
    def kill(*now):
        if now == moment:
            raise Killed

    return kill


MOMENTS = [(when, s) for when in ("before", "after") for s in range(STEPS)] + [
    ("epoch", e) for e in (1, 2, 3)
]


@pytest.mark.parametrize("every", [20.0, -1.0], ids=["each epoch", "each step"])
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: f"{m[0]}-{m[1]}")
def test_same_bits_after_a_kill_at_any_moment(tmp_path, monkeypatch, every, moment):
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", every)
    undisturbed = Training(None).run()
    path = tmp_path / "checkpoints" / "a.safetensors"
    killed = Training(path, kill_at(moment))
    with pytest.raises(Killed):
        killed.run()
    # Whatever the process left in the generators, another one starts from elsewhere.
    torch.manual_seed(99)
    resumed = Training(path).run()
    assert_same_bits(resumed, undisturbed)
    assert {**killed.epochs, **resumed.epochs} == undisturbed.epochs
    last = min(moment[1] * PER_EPOCH, STEPS) - 1 if moment[0] == "epoch" else moment[1]
    first = last if every < 0 else last // PER_EPOCH * PER_EPOCH
    assert resumed.steps == list(range(first, STEPS)), "no more is done again than was not saved"


def test_same_bits_of_a_network_whose_weights_lie_channels_last(tmp_path):
    def make():
        space = nasbench201(1, 4)
        cell = "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_3x3~1|"
        return space.build(space.from_arch_str(cell + "skip_connect~2|"), (3, 5, 5), 2)

    undisturbed = Training(None, make=make).run()
    for moment in (("after", 2), ("after", 4)):
        path = tmp_path / f"{moment[1]}.safetensors"
        with pytest.raises(Killed):
            Training(path, kill_at(moment), make).run()
        assert_same_bits(Training(path, make=make).run(), undisturbed)


def test_killed_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    for moment in (("after", 1), ("before", 4), ("epoch", 2), ("after", 7)):
        with pytest.raises(Killed):
            Training(tmp_path / "a", kill_at(moment)).run()
    assert_same_bits(Training(tmp_path / "a").run(), Training(None).run())


def test_epochs_are_numbered_from_one_and_the_last_may_be_shorter():
    training = Training(None).run()
    assert {e: count for e, (_, count) in training.epochs.items()} == {1: 3, 2: 3, 3: 2}
    assert list(Training(None).run(steps=6).epochs) == [1, 2]
    assert list(Training(None).run(steps=1).epochs) == [1]


def test_seed_and_step_change_the_draws():
    assert not torch.equal(Training(None).run().bits()[0], Training(None).run(seed=6).bits()[0])


def test_a_finished_loop_does_nothing_but_restore(tmp_path):
    done = Training(tmp_path / "a").run()
    again = Training(tmp_path / "a").run()
    assert again.steps == [] and again.epochs == {}
    assert_same_bits(again, done)


def test_no_path_keeps_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Training(None).run()
    assert list(tmp_path.iterdir()) == []


def test_the_meter_goes_on_over_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    killed = Training(tmp_path / "a", kill_at(("before", 5)))
    with pytest.raises(Killed):
        killed.run()
    before = killed.meter.seconds
    assert killed.meter.count == 2 and before > 0
    resumed = Training(tmp_path / "a", kill_at(("epoch", 2)))
    with pytest.raises(Killed):
        resumed.run()
    assert resumed.meter.count == 3, "the two steps before the kill and the one after"
    assert resumed.meter.seconds > before


def test_meter_means():
    meter = Meter()
    assert meter.means() == {}
    meter.add(loss=torch.tensor(1.0, requires_grad=True), hits=torch.tensor(1))
    meter.add(loss=torch.tensor(2.0), hits=torch.tensor(2))
    assert meter.means() == {"loss": 1.5, "hits": 1.5} and meter.count == 2
    assert not meter.sums["loss"].requires_grad
    other = Meter()
    other.load_state_dict(meter.state_dict())
    other.add(loss=torch.tensor(3.0), hits=torch.tensor(3))
    assert other.means() == {"loss": 2.0, "hits": 2.0}
    assert meter.means() == {"loss": 1.5, "hits": 1.5}, "the state was copied"
    meter.reset()
    assert meter.means() == {} and meter.count == 0 and meter.seconds == 0


def test_learning_rate_rises_and_falls():
    rates = [learning_rate(step, 100, 0.5, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.05 * (i + 1) for i in range(10)])
    assert max(rates) == 0.5 == rates[9] == rates[10]
    assert all(a > b > 0 for a, b in zip(rates[10:], rates[11:], strict=False))
    assert learning_rate(55, 100, 0.5, 0.1) == pytest.approx(0.25)
    assert learning_rate(0, 1, 0.5, 0.0) == 0.5
    assert learning_rate(0, 3, 0.5, 0.1) == 0.5, "no step to rise in"
