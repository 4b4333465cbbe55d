"""Weights that are averaged over the last steps: what they are, and what is scored and kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nas_domains as nd
from nas_domains.core.run import Run
from nas_domains.evaluation.context import Context
from nas_domains.evaluation.score import evaluate
from nas_domains.evaluation.train import Average, Trainer, fresh, train
from tests.make import make_context, make_task, stopped_after, stripped

SPACE = "nasbench201:cells=1,channels=4"
OPTIONS: dict[str, Any] = {
    "strategy": "random",
    "budget": "trials=2,epochs=2",
    "train_budget": "epochs=3",
    "randoms": 1,
    "quiet": True,
}


PER_EPOCH = 4
"""Steps of an epoch of the small task."""


def averaging(average: float) -> Any:
    return make_task().with_recipe(average=average)


def network_of(context: Context, seed: int = 0) -> nn.Module:
    task = context.task
    fresh(context, f"test/{seed}")
    architecture = context.space.sample(1, seed=2)[0]
    return context.space.build(architecture, task.input_shape, task.outputs)


@pytest.mark.parametrize("reach", [1.0, 3.5, 100.0])
def test_a_step_leaves_its_share(reach: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = Average(network, reach)
    expected = None
    for step in range(40):
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.normal_()
        average.update(network, step)
        now = {k: v.double() for k, v in network.state_dict().items() if v.is_floating_point()}
        left = min(1 - 1 / reach, (1 + step) / (10 + step))
        expected = (
            now
            if expected is None
            else {k: left * v + (1 - left) * now[k] for k, v in expected.items()}
        )
    found = average.network.state_dict()
    for name, value in (expected or {}).items():
        assert torch.allclose(found[name].double(), value, atol=1e-6), name
    assert not any(a is b for a in average.network.parameters() for b in network.parameters())


def test_buffers_that_have_no_mean_are_those_of_the_network() -> None:
    network = nn.BatchNorm1d(2)
    network.register_buffer("index", torch.arange(9))
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    average = Average(network, 10)
    for step in range(200):
        network.running_mean.fill_(step)
        network.num_batches_tracked.fill_(step)
        average.update(network, step)
    found = average.network.state_dict()
    assert torch.equal(found["index"], torch.arange(9)) and found["num_batches_tracked"] == 199
    assert torch.equal(found["mask"], torch.tensor([0.0, -torch.inf]))
    assert 180 < float(found["running_mean"][0]) < 199


def test_the_average_of_the_best_epoch_is_returned(tmp_path: Path) -> None:
    context = make_context(tmp_path, task=averaging(1.0))
    network, metrics = train(
        network_of(context), context, stage="s", epochs=3, architecture=None, order="o"
    )
    again = network_of(context)
    trainer = Trainer(again, context, 3 * PER_EPOCH, "o")
    seen = []
    for step in range(3 * PER_EPOCH):
        trainer.step(step)
        if (step + 1) % PER_EPOCH == 0:
            scored = evaluate(trainer.scored, context.task.val, context)
            weights = {k: v.clone() for k, v in trainer.scored.state_dict().items()}
            seen.append((context.score(scored), scored, weights))
    _, expected, weights = max(seen, key=lambda s: s[0])
    assert metrics == pytest.approx(expected)
    assert all(torch.allclose(v, weights[k]) for k, v in network.state_dict().items())
    # What learns goes on from its own weights, which are others.
    assert not all(
        torch.equal(a, b)
        for a, b in zip(again.parameters(), trainer.scored.parameters(), strict=True)
    )


def test_without_it_nothing_is_kept_twice(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    trainer = Trainer(network_of(context), context, 4, "o")
    assert trainer.scored is trainer.network and "average" not in trainer.state


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "a"
    return nd.search(SPACE, averaging(0.5), out=out, **OPTIONS)


@pytest.mark.parametrize("steps", [3, 20])
def test_an_interrupted_run_ends_in_the_same_result(
    finished: Run, tmp_path: Path, steps: int
) -> None:
    with stopped_after(steps):
        nd.search(SPACE, averaging(0.5), out=tmp_path / "b", **OPTIONS)
    # What was asked for is in the run, whatever the task has by then.
    run = nd.resume(tmp_path / "b", task=make_task(), quiet=True)
    assert stripped(run.result) == stripped(finished.result)


def test_a_run_of_a_version_that_did_not_average_goes_on_without(tmp_path: Path) -> None:
    whole = nd.search(SPACE, make_task(), out=tmp_path / "a", **OPTIONS)
    with stopped_after(5):
        nd.search(SPACE, make_task(), out=tmp_path / "b", **OPTIONS)
    config = tmp_path / "b" / "config.yaml"
    text = config.read_text(encoding="utf-8")
    assert "  average: 0.0\n" in text
    config.write_text(text.replace("  average: 0.0\n", ""), encoding="utf-8")
    run = nd.resume(tmp_path / "b", task=averaging(1.0), quiet=True)
    assert stripped(run.result) == stripped(whole.result)
