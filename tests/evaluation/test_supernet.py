"""Scores in shared weights: statistics of the path's own, which leave nothing behind."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas_domains.core.architecture import Architecture
from nas_domains.core.errors import UsageError
from nas_domains.core.evaluate import Fidelity, Metrics
from nas_domains.evaluation.context import Context
from nas_domains.evaluation.halves import search_halves
from nas_domains.evaluation.score import evaluate
from nas_domains.evaluation.supernet import (
    SupernetEvaluator,
    kept_statistics,
    recalibrate,
    tracking_norms,
)
from nas_domains.nn.supernet import Supernet
from nas_domains.vision.spaces import darts, nasbench201
from tests.make import make_context, one_sentence


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return make_context(tmp_path)


@pytest.fixture
def supernet(context: Context) -> Supernet:
    torch.manual_seed(0)
    task = context.task
    made = context.space.supernet(task.input_shape, task.outputs)
    for path in context.space.sample(8, seed=7):
        made.set_architecture(path)
        made(torch.randn(6, 1, 8, 8))
    return made


def _statistics(network: nn.Module) -> list[Tensor]:
    return [b.clone() for norm in tracking_norms(network) for b in norm.buffers()]


def _score(evaluator: SupernetEvaluator, architecture: Architecture) -> Metrics:
    return evaluator(architecture, Fidelity(1), trial=0)


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_statistics_become_the_mean_over_the_batches() -> None:
    norm = nn.BatchNorm2d(3)
    nn.init.constant_(norm.running_mean, torch.nan)
    batches = [torch.randn(4, 3, 2, 5) * (i + 1) + i for i in range(5)]
    recalibrate(norm, batches)
    means = torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)
    assert norm.momentum == 0.1 and norm.training


@pytest.mark.parametrize("training", [True, False])
def test_modes_and_momenta_are_left_and_nothing_is_dropped(training: bool) -> None:
    network = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(2, momentum=None), nn.Linear(2, 2))
    network.train(training)
    network[2].train(not training)
    x = torch.randn(50, 2)
    recalibrate(network, [x])
    torch.testing.assert_close(network[1].running_mean, x.mean(0))
    assert network[1].momentum is None
    modes = [m.training for m in network.modules()]
    assert modes == [training, training, training, not training]


def test_no_batches_are_refused() -> None:
    with pytest.raises(UsageError) as error:
        recalibrate(nn.BatchNorm1d(2), [])
    one_sentence(str(error.value), "recalibrate")


def test_a_score_is_that_of_the_extracted_network(context: Context, supernet: Supernet) -> None:
    evaluator = SupernetEvaluator(context, supernet)
    for architecture in context.space.sample(3, seed=1):
        network = supernet.extract(architecture)
        recalibrate(network, evaluator.batches())
        expected = evaluate(network, context.task.train, context, evaluator.indices)
        found = _score(evaluator, architecture)
        for name, value in expected.items():
            # The same sums in another layout.
            assert found[name] == pytest.approx(value, abs=1e-5), name


def test_a_score_leaves_nothing_behind(context: Context, supernet: Supernet) -> None:
    supernet.train()
    before, weights = _statistics(supernet), [w.clone() for w in supernet.weight_parameters()]
    one, other = context.space.sample(2, seed=1)
    evaluator = SupernetEvaluator(context, supernet)
    first = _score(evaluator, one)
    _score(evaluator, other)
    assert _score(evaluator, one) == first
    assert _same(before, _statistics(supernet))
    assert _same(weights, supernet.weight_parameters())
    assert supernet.training


def test_stale_statistics_do_not_count(context: Context, supernet: Supernet) -> None:
    architecture = context.space.sample(1, seed=1)[0]
    expected = _score(SupernetEvaluator(context, supernet), architecture)
    stale = evaluate(supernet, context.task.train, context)
    for norm in tracking_norms(supernet):
        nn.init.constant_(norm.running_mean, torch.nan)
        nn.init.constant_(norm.running_var, 1e9)
    assert _score(SupernetEvaluator(context, supernet), architecture) == expected
    assert stale["loss"] != expected["loss"]


def test_statistics_are_put_back_after_an_error(supernet: Supernet) -> None:
    before = _statistics(supernet)
    with pytest.raises(RuntimeError), kept_statistics(supernet):
        for norm in tracking_norms(supernet):
            norm.reset_running_stats()
        raise RuntimeError
    assert _same(before, _statistics(supernet))


def test_scores_are_of_the_second_half_and_statistics_of_the_first(
    context: Context, supernet: Supernet
) -> None:
    first, second = search_halves(context)
    evaluator = SupernetEvaluator(context, supernet, samples=10**6)
    assert evaluator.indices == second
    images = context.task.train.tensors[0]
    known = {tuple(images[i].flatten().tolist()) for i in first}
    rows = torch.cat(list(evaluator.batches())).flatten(1).tolist()
    assert len(rows) == len(first) and {tuple(row) for row in rows} == known
    assert len(list(SupernetEvaluator(context, supernet, samples=1).batches())) == 1


def test_costs_are_of_the_network_that_is_trained_in_the_end(tmp_path: Path) -> None:
    space = nasbench201(cells=2, channels=4, supernet_cells=1, supernet_channels=2)
    context = make_context(tmp_path, space, objectives=("accuracy", "latency_ms<=1e6"))
    shape, outputs = context.task.input_shape, context.task.outputs
    evaluator = SupernetEvaluator(context, space.supernet(shape, outputs))
    architecture = space.sample(1, seed=3)[0]
    found = _score(evaluator, architecture)
    for metric, table in space.cost_tables(shape, outputs).items():
        assert found[metric] == table.cost(architecture)
    assert found["latency_ms"]


def test_paths_with_fewer_edges_than_the_supernet(tmp_path: Path) -> None:
    space = darts(cells=2, channels=2)
    context = make_context(tmp_path, space)
    supernet = space.supernet(context.task.input_shape, context.task.outputs)
    before = _statistics(supernet)
    found = _score(SupernetEvaluator(context, supernet), space.sample(1)[0])
    assert set(found) == {*context.task.metrics, "loss", "params", "macs"}
    assert _same(before, _statistics(supernet))
