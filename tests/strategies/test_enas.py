"""The controller: its probabilities, what it learns from rewards, and what it leaves alone."""

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas_domains.core.errors import UsageError
from nas_domains.core.objective import parse_objectives
from nas_domains.core.space import SearchSpace
from nas_domains.evaluation.supernet import tracking_norms
from nas_domains.strategies.enas import Controller, ControllerSettings, Drawn, EnasTraining
from nas_domains.strategies.oneshot import OneShotSettings
from nas_domains.strategies.presets import enas
from nas_domains.vision.spaces import nasbench201
from tests.make import Widths, make_context, one_sentence

WEIGHTS = OneShotSettings("controller", 0.1, 12)


def make_controller(space: SearchSpace, **settings: float) -> Controller:
    torch.manual_seed(0)
    return Controller(space, ControllerSettings(hidden=8, **settings))


def make_training(path: Path, *objectives: str) -> EnasTraining:
    context = make_context(path, objectives=objectives)
    return EnasTraining(context, WEIGHTS, ControllerSettings(hidden=8), steps=8)


def drawn_with(log_probability: Tensor, controller: Controller) -> Drawn:
    return Drawn(controller.space.sample(1)[0], log_probability, torch.tensor(2.0))


def test_draws_have_the_probability_that_they_say() -> None:
    # Choices of which some are switched off by others.
    controller = make_controller(Widths())
    with torch.no_grad():
        for head in controller.heads:
            head.weight.mul_(20)
    random = torch.Generator().manual_seed(0)
    counts: Counter[str] = Counter()
    said: dict[str, float] = {}
    with torch.no_grad():
        for _ in range(1500):
            path = controller(random)
            assert controller.space.architecture(path.architecture) == path.architecture
            counts[str(path.architecture)] += 1
            said[str(path.architecture)] = float(path.log_probability.exp())
    assert len(said) == controller.space.size()
    assert sum(said.values()) == pytest.approx(1, abs=1e-5)
    for name, probability in said.items():
        error = math.sqrt(probability * (1 - probability) / 1500)
        assert abs(counts[name] / 1500 - probability) < 5 * error


def test_the_entropy_is_that_of_its_choices() -> None:
    controller = make_controller(nasbench201(cells=1, channels=2))
    with torch.no_grad():
        for head in controller.heads:
            head.weight.zero_()
            head.bias.zero_()
    path = controller(torch.Generator().manual_seed(0))
    assert float(path.entropy) == pytest.approx(6 * math.log(5), rel=1e-5)
    assert float(path.log_probability.detach()) == pytest.approx(-6 * math.log(5), rel=1e-5)
    assert not path.entropy.requires_grad and path.log_probability.requires_grad


def test_logits_are_bounded() -> None:
    controller = make_controller(nasbench201(cells=1, channels=2))
    with torch.no_grad():
        for head in controller.heads:
            head.bias.copy_(torch.tensor([1e6, -1e6, -1e6, -1e6, -1e6]))
    path = controller(torch.Generator().manual_seed(0))
    most = 1 / (1 + 4 * math.exp(-2.2))
    assert 0 < float(path.entropy) <= 6 * math.log(5)
    assert float(path.log_probability.detach()) <= 6 * math.log(most) + 1e-4


def test_the_loss_is_that_of_reinforce() -> None:
    controller = make_controller(Widths(), entropy=0.5, decay=0.9)
    logs = [torch.tensor(-1.0, requires_grad=True) for _ in range(4)]
    drawn = [drawn_with(log, controller) for log in logs]
    assert controller.loss(drawn, [math.nan] * 4) is None
    loss = controller.loss(drawn, [0.2, 0.7, -math.inf, math.nan])
    assert loss is not None
    torch.autograd.backward(loss)
    # The first reward is the baseline; each has half the entropy of 2 on top.
    baseline = 0.9 * 1.2 + 0.1 * 1.7
    assert float(controller.baseline) == pytest.approx(baseline)
    expected = [0.0, -(1.7 - baseline) / 4, 1 / 4, None]
    for log, value in zip(logs, expected, strict=True):
        assert (log.grad is None) == (value is None)
        if value is not None:
            assert float(log.grad) == pytest.approx(value, abs=1e-6)


def test_it_learns_to_draw_what_is_rewarded() -> None:
    space = nasbench201(cells=1, channels=2)
    controller = make_controller(space)
    optimizer = torch.optim.Adam(controller.parameters(), 0.03)

    def share() -> float:
        with torch.no_grad():
            random = torch.Generator().manual_seed(9)
            paths = [controller(random).architecture for _ in range(40)]
        return sum(p[n] == "skip_connect" for p in paths for n in p) / 240

    before = share()
    random = torch.Generator().manual_seed(1)
    for _ in range(40):
        drawn = [controller(random) for _ in range(6)]
        rewards = [sum(o == "skip_connect" for o in d.architecture.values()) / 6 for d in drawn]
        loss = controller.loss(drawn, rewards)
        assert loss is not None
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert share() > before + 0.2


def test_the_controller_step_leaves_weights_and_statistics(tmp_path: Path) -> None:
    training = make_training(tmp_path)
    training.supernet.train()
    training.weight_step(0)
    statistics = [b.clone() for n in tracking_norms(training.supernet) for b in n.buffers()]
    weights = [w.clone() for w in training.weights]
    before = [p.clone() for p in training.controller.parameters()]
    training.controller_step(0)
    training.controller_step(1)
    after = [b for n in tracking_norms(training.supernet) for b in n.buffers()]
    assert all(torch.equal(a, b) for a, b in zip(statistics, after, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights, training.weights, strict=True))
    parameters = list(training.controller.parameters())
    assert not all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))


def test_the_weight_step_leaves_the_controller(tmp_path: Path) -> None:
    training = make_training(tmp_path)
    before = {name: value.clone() for name, value in training.controller.state_dict().items()}
    training.weight_step(0)
    for name, value in training.controller.state_dict().items():
        assert torch.equal(value, before[name]) or value.isnan().all(), name


def test_rewards_are_of_the_second_half(tmp_path: Path) -> None:
    training = make_training(tmp_path)
    assert sorted(training.rewards.indices.tolist()) == sorted(training.indices)
    assert not set(training.rewards.indices.tolist()) & set(training.stream.indices.tolist())


@pytest.mark.parametrize("goal", ["accuracy", "loss"])
def test_the_reward_is_the_goal(tmp_path: Path, goal: str) -> None:
    training = make_training(tmp_path, goal)
    x, y = training.context.to_device(*training.rewards.batch(0))
    path = training.paths(0)[0]
    with torch.no_grad():
        output = training.output(path, x)
    expected = float((output.argmax(1) == y).double().mean())
    if goal == "loss":
        expected = -float(torch.nn.functional.cross_entropy(output, y))
    assert training.reward(path, x, y) == pytest.approx(expected)


def test_draws_keep_a_limit_and_what_breaks_it_is_discouraged(tmp_path: Path) -> None:
    table = make_context(tmp_path).space.cost_tables((1, 8, 8), 3)["params"]
    training = make_training(tmp_path, "accuracy", f"params<={table.base}")
    assert training.limit is not None
    paths = [training.draw("path", i) for i in range(30)]
    assert all(map(training.limit.allows, paths))
    assert paths == [training.draw("path", i) for i in range(30)]
    x, y = training.context.to_device(*training.rewards.batch(0))
    breaking = next(a for a in training.context.space.sample(50) if not training.limit.allows(a))
    assert training.reward(breaking, x, y) == -math.inf


def test_new_paths_are_drawn_while_there_are_any(tmp_path: Path) -> None:
    training = make_training(tmp_path)
    seen = set()
    for i in range(30):
        path = training.draw("trial", i, seen)
        assert path not in seen
        seen.add(path)
    everything = set(training.context.space)
    assert training.draw("trial", 0, everything) in everything


@pytest.mark.parametrize(
    ("objectives", "named"),
    [(("params",), "params"), (("accuracy", "auc"), "accuracy, auc"), (("macs",), "macs")],
)
def test_what_it_cannot_honour_is_refused(objectives: tuple[str, ...], named: str) -> None:
    with pytest.raises(UsageError) as error:
        enas().check(
            nasbench201(cells=1, channels=2), parse_objectives(objectives, ["accuracy", "auc"])
        )
    one_sentence(str(error.value), "enas", named)
