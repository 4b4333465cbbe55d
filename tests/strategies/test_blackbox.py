"""Black-box strategies: gates, warm starts, and who wins where trials were stopped early."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

import nas_domains as nd
from nas_domains.core.errors import UsageError
from nas_domains.core.history import Record
from nas_domains.core.objective import parse_objectives
from nas_domains.strategies import presets
from nas_domains.strategies.base import Strategy
from nas_domains.strategies.blackbox import REFUSED
from nas_domains.strategies.prior import best_of, interleave
from nas_domains.testing.samplers import flat_space
from tests.make import Widths, images, make_context, make_task, one_sentence


class Far(MeanMetric):
    """A metric that is made small: the mean distance of scores from zero."""

    higher_is_better = False

    def update(self, output: Tensor, y: Tensor) -> None:
        super().update(output.abs())


FAR = {"far": Far()}


def test_a_network_over_a_measured_limit_is_not_trained(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths(), objectives=("accuracy", "latency_ms<=1e-9"))
    strategy = presets.random()
    strategy.search(context, {"trials": 2, "epochs": 1})
    records = context.history.of("search")
    # All architectures of the space were measured, fewer than are given up at.
    assert len(records) == context.space.size() == 9 < 2 * REFUSED
    for record in records:
        assert record.detail == {"refused": True} and record.fidelity == {"epochs": 0}
        assert record.metrics["accuracy"] is None and record.metrics["latency_ms"]
    stages = {r.stage for r in context.history}
    assert not any(stage.startswith("trial/") and stage.count("/") == 1 for stage in stages)
    with pytest.raises(UsageError) as error:
        strategy.choose(context, records)
    one_sentence(str(error.value), "latency_ms<=1e-09")


def test_what_costs_is_measured_once(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths())
    presets.random().search(context, {"trials": 2, "epochs": 1})
    for record in context.history.of("search"):
        costs = context.history.find(f"trial/{record.step - 1}/costs", 0)
        assert costs is not None and costs.metrics["latency_ms"] == record.metrics["latency_ms"]


def test_the_winner_was_trained_to_the_end_where_one_was(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths())

    def record(step: int, accuracy: float, stopped: bool) -> Record:
        metrics = {"accuracy": accuracy, "loss": 1.0}
        detail = {"stopped": True} if stopped else {}
        return Record("search", step, {"a": step}, {"epochs": 1}, metrics, 1.0, detail)

    records = [record(1, 0.9, True), record(2, 0.5, False), record(3, 0.6, False)]
    assert presets.hyperband().choose(context, records).step == 3
    assert presets.hyperband().choose(context, records[:1]).step == 1


@pytest.mark.parametrize("strategy", [presets.hyperband(), presets.bohb()])
def test_a_cost_does_not_stop_trials(strategy: Strategy) -> None:
    with pytest.raises(UsageError) as error:
        strategy.check(Widths(), parse_objectives(["params"], ["accuracy"]))
    one_sentence(str(error.value), "params", strategy.name)


def test_the_best_of_a_prior_are_scored_first(tmp_path: Path) -> None:
    options = {"budget": "trials=4,epochs=1", "train_budget": "epochs=1", "validate": False}
    first = nd.search(Widths(), make_task(), out=tmp_path / "a", quiet=True, **options)
    taken = best_of(tmp_path / "a", Widths(), {})
    assert taken[0] == dict(first.best.architecture) and len(taken) == 4
    # Its folder is not needed later.
    second = nd.search(
        Widths(), make_task(60), out=tmp_path / "b", priors=[tmp_path / "a"], quiet=True, **options
    )
    assert [r.architecture for r in second.history.of("search")] == taken
    assert (tmp_path / "b" / "study.db").is_file()
    with pytest.raises(UsageError) as error:
        best_of(tmp_path / "a", flat_space(), {})
    one_sentence(str(error.value), str(tmp_path / "a"), "--prior")


def test_a_priors_goal_may_be_made_small(tmp_path: Path) -> None:
    task = nd.Task.from_datasets(*(images(n, i) for i, n in enumerate((48, 24, 24))), metrics=FAR)
    options = {"budget": "trials=6,epochs=1", "train_budget": "epochs=1", "validate": False}
    for objectives in ((), ("far<=99",)):
        out = tmp_path / f"a{len(objectives)}"
        given = {"objectives": objectives, "strategy": "random", "quiet": True}
        run = nd.search(Widths(), task, out=out, **given, **options)
        records = sorted(run.history.of("search"), key=lambda r: r.metrics["far"])
        assert best_of(out, Widths(), task.metrics) == [r.architecture for r in records[:5]]


class Holed(Widths):
    """Widths, of which those with one layer give NaN."""

    def build(self, architecture: Any, *arguments: Any) -> nn.Module:
        network = super().build(architecture, *arguments)
        if architecture["depth"] == 1:
            network.register_forward_hook(lambda module, inputs, output: output * torch.nan)
        return network


def test_a_trial_that_diverges_has_no_score_and_ends_no_search(tmp_path: Path) -> None:
    strategy, context = presets.random(), make_context(tmp_path, Holed())
    strategy.search(context, {"trials": 9, "epochs": 1})
    records = context.history.of("search")
    assert len(records) == 9
    for record in records:
        holed = (record.architecture or {})["depth"] == 1
        assert (record.metrics["accuracy"] is None) == holed
        assert record.detail == ({"diverged": True} if holed else {})
    assert (strategy.choose(context, records).architecture or {})["depth"] == 2


def test_several_priors_take_turns() -> None:
    space = flat_space(2, 4)
    runs = [[{"c0": i, "c1": j} for i in order] for j, order in ((0, (0, 1)), (1, (2, 3, 0)))]
    found = [(a["c0"], a["c1"]) for a in interleave(space, [*runs, runs[0][:1]])]
    assert found == [(0, 0), (2, 1), (1, 0), (3, 1), (0, 1)]
    assert interleave(space, []) == []
