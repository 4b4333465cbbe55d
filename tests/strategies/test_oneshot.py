"""Training by single paths, and a search that a kill does not disturb in either phase."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

import nas_domains as nd
from nas_domains.core.architecture import Architecture
from nas_domains.core.budget import Budget
from nas_domains.core.errors import UsageError
from nas_domains.core.history import History, Record
from nas_domains.evaluation.halves import search_halves
from nas_domains.evaluation.supernet import SupernetEvaluator
from nas_domains.strategies.oneshot import (
    TRAINING,
    OneShot,
    OneShotSettings,
    PathTraining,
    score_paths,
)
from nas_domains.strategies.path_evolution import Evolution
from tests.make import RoomyCells, images, make_context, make_task, one_sentence

KINDS = ("uniform", "fair", "sandwich")
each_kind = pytest.mark.parametrize("kind", KINDS)


def make_settings(kind: str, **changes: Any) -> OneShotSettings:
    return OneShotSettings(kind, **{"lr": 0.1, "lr_batch": 12, "epochs": 2, "trials": 6} | changes)


def make_strategy(kind: str = "uniform") -> OneShot:
    return OneShot("mine", make_settings(kind), Evolution(population=4, parents=2))


def make_training(path: Path, kind: str, **options: Any) -> PathTraining:
    return PathTraining(make_context(path, **options), make_settings(kind), steps=8)


def gradients(training: PathTraining) -> list[Tensor | None]:
    return [None if w.grad is None else w.grad.clone() for w in training.weights]


def batch(training: PathTraining) -> tuple[Tensor, Tensor]:
    return training.stream.batch(0)


def test_a_fair_step_adds_up_the_gradients_of_its_paths(tmp_path: Path) -> None:
    training = make_training(tmp_path, "fair")
    paths = training.paths(3)
    assert len(paths) == 5
    x, y = batch(training)
    training._backward(paths, x, y)
    # A candidate from which no way leads to the output has none.
    zeros = [torch.zeros_like(w) for w in training.weights]
    found = zip(gradients(training), zeros, strict=True)
    together = [zero if gradient is None else gradient for gradient, zero in found]
    total = [torch.zeros_like(w) for w in training.weights]
    for path in paths:
        training.optimizer.zero_grad(set_to_none=True)
        training._backward([path], x, y)
        for s, w in zip(total, training.weights, strict=True):
            s += torch.zeros_like(w) if w.grad is None else w.grad
    for a, b in zip(together, total, strict=True):
        torch.testing.assert_close(a, b)


def test_weights_that_are_not_on_the_path_stay(tmp_path: Path) -> None:
    training = make_training(tmp_path, "uniform")
    training.step(0)
    training.step(1)
    before = [w.clone() for w in training.weights]
    training.step(2)
    path = training.paths(2)[0]
    moved = stayed = 0
    names = [n for n, _ in training.supernet.body.named_parameters()]
    for name, old, new in zip(names, before, training.weights, strict=True):
        parts = name.split(".")
        if "candidates" in parts:
            edge = parts[parts.index("edges") + 1].replace("-", "->")
            own = parts[parts.index("candidates") + 1] == path[edge]
            # Neither momentum nor weight decay moves what was not run.
            assert own or torch.equal(old, new), name
            stayed += not own
        else:
            moved += not torch.equal(old, new)
    assert moved and stayed


def test_the_sandwich_learns_from_the_labels_by_the_largest_alone(tmp_path: Path) -> None:
    training = make_training(tmp_path, "sandwich")
    largest, smallest, *drawn = training.paths(0)
    assert [largest, smallest] == training.ends and len(drawn) == 2
    x, y = batch(training)
    losses = training._backward([largest, *drawn], x, y)
    soft = training.output(largest, x).detach().softmax(1)
    expected = [torch.nn.functional.cross_entropy(training.output(largest, x), y)]
    expected += [
        torch.nn.functional.cross_entropy(training.output(path, x), soft) for path in drawn
    ]
    torch.testing.assert_close(torch.stack(losses), torch.stack(expected))
    found = gradients(training)
    # No gradient goes through the soft labels.
    training.optimizer.zero_grad(set_to_none=True)
    torch.stack(expected).sum().backward()
    for a, b in zip(found, gradients(training), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def test_a_task_without_classes_has_no_soft_labels(tmp_path: Path) -> None:
    def loss(output: Tensor, y: Tensor) -> Tensor:
        return (output[:, 0] - y).square().mean()

    task = nd.Task.from_datasets(images(24, 0), images(12, 1), images(12, 2), loss=loss)
    training = make_training(tmp_path, "sandwich", task=task.with_recipe(batch_size=6))
    x, y = batch(training)
    paths = training.paths(0)
    expected = [loss(training.output(path, x), y) for path in paths]
    torch.testing.assert_close(torch.stack(training._backward(paths, x, y)), torch.stack(expected))


@each_kind
def test_weights_see_the_first_half_alone(tmp_path: Path, kind: str) -> None:
    def weights_after(noise: float) -> list[Tensor]:
        x, y = images(48, 0).tensors
        _, second = search_halves(make_context(tmp_path))
        x = x.clone()
        x[second] += noise
        task = nd.Task.from_datasets(TensorDataset(x, y), images(24, 1), images(24, 2))
        training = make_training(tmp_path, kind, task=task.with_recipe(batch_size=12))
        training.step(0)
        return [w.detach().clone() for w in training.weights]

    for a, b in zip(weights_after(0.0), weights_after(1.0), strict=True):
        assert torch.equal(a, b)


def test_rates_follow_their_schedule_and_the_batch(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    for schedule, middle in (("linear", 0.55), ("cosine", 0.55)):
        settings = OneShotSettings("uniform", 1.0, 48, lr_end=0.1, schedule=schedule)
        training = PathTraining(context, settings, steps=10)
        scale = context.batch_size / 48
        assert training.rate(0) == pytest.approx(scale)
        assert training.rate(5) == pytest.approx(middle * scale)
        assert 0.1 * scale < training.rate(9) < 0.25 * scale
    assert OneShotSettings("uniform", 1.0, 48).lr_end == 0


@each_kind
def test_training_lowers_the_loss(tmp_path: Path, kind: str) -> None:
    context = make_context(tmp_path)
    PathTraining(context, make_settings(kind), steps=16).run()
    losses = [r.detail["train_loss"] for r in context.history.of(TRAINING)]
    assert len(losses) == 8
    assert sum(losses[-2:]) < sum(losses[:2])


def test_a_plan_is_exact_for_counts(tmp_path: Path) -> None:
    context, strategy = make_context(tmp_path), make_strategy()
    for text, plan in {
        "epochs=3,trials=7": {"steps": 6, "trials": 7},
        "epochs=3": {"steps": 6, "trials": 6},
        "trials=7": {"steps": 4, "trials": 7},
        strategy.usual: {"steps": 4, "trials": 6},
    }.items():
        assert strategy.plan(context, Budget.parse(text)) == plan


class Killed(BaseException):
    """Stands for the kill: nothing catches it."""


@each_kind
def test_a_kill_among_the_scores_changes_no_record(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {"steps": 3, "trials": 10}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    whole = make_context(tmp_path / "a")
    make_strategy(kind).search(whole, plan)
    add = History.add

    def killed(history: History, record: Record) -> Record:
        # In the middle of the second generation, after the score and before its record.
        if record.stage == "search" and record.step == 7:
            raise Killed
        return add(history, record)

    monkeypatch.setattr(History, "add", killed)
    with pytest.raises(Killed):
        make_strategy(kind).search(make_context(tmp_path / "b"), plan)
    monkeypatch.undo()
    called: list[Architecture] = []
    score = SupernetEvaluator.__call__

    def counting(evaluator: SupernetEvaluator, architecture: Architecture, *a: Any, **k: Any):
        called.append(architecture)
        return score(evaluator, architecture, *a, **k)

    monkeypatch.setattr(SupernetEvaluator, "__call__", counting)
    resumed = make_context(tmp_path / "b")
    make_strategy(kind).search(resumed, plan)
    assert len(called) == 4, "what is recorded is not scored again"
    one, other = whole.history.of("search"), resumed.history.of("search")
    assert [(r.architecture, r.metrics) for r in one] == [
        (r.architecture, r.metrics) for r in other
    ]
    assert one[0].fidelity == {"epochs": 2, "supernet": True}


def test_the_training_counts_in_the_first_record(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    make_strategy().search(context, {"steps": 4, "trials": 3})
    spent = sum(r.seconds for r in context.history.of(TRAINING))
    first, *others = context.history.of("search")
    assert first.seconds > spent > 0
    assert all(r.architecture is None for r in context.history.of(TRAINING))
    assert all(r.seconds > 0 for r in others)


def test_an_architecture_that_comes_again_is_not_scored_again(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    training = make_training(tmp_path, "uniform")
    evaluator = SupernetEvaluator(context, training.supernet)
    architecture = context.space.sample(1)[0]
    calls = []

    def propose(records: Any) -> list[Architecture]:
        calls.append(len(records))
        if records:
            # Without batches a second score would raise.
            evaluator.number = 0
        return [architecture]

    records = score_paths(context, evaluator, propose, trials=3, epochs=1)
    assert calls == [0, 1, 2]
    assert records[0].metrics == records[1].metrics == records[2].metrics


def test_a_loss_that_is_not_finite_is_one_sentence(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    training = PathTraining(context, make_settings("uniform", lr=1e30, grad_clip=1e30), steps=6)
    with pytest.raises(UsageError) as error:
        training.run()
    one_sentence(str(error.value), "supernet", "inputs")


@pytest.mark.parametrize("strategy", ["fairnas", "enas"])
def test_a_whole_run_keeps_its_limits_and_writes_its_report(tmp_path: Path, strategy: str) -> None:
    run = nd.search(
        nd.spaces.get("nasbench201", cells=1, channels=4),
        make_task(),
        strategy=strategy,
        objectives=["accuracy", "params<=5000"],
        budget="epochs=2,trials=6",
        train_budget="epochs=1",
        randoms=1,
        out=tmp_path / "run",
        quiet=True,
    )
    assert run.best.metrics["params"] <= 5000
    assert all(r.metrics["params"] <= 5000 for r in run.history.of("search"))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["search_seconds"] > 0 and result["plan"]["search"]["trials"] == 6
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


def test_several_goals_end_in_a_front(tmp_path: Path) -> None:
    run = nd.search(
        nd.spaces.get("nasbench201", cells=1, channels=4),
        make_task(),
        strategy="ofa",
        objectives=["accuracy", "params"],
        budget="epochs=1,trials=8",
        train_budget="epochs=1",
        validate=False,
        out=tmp_path / "run",
        quiet=True,
    )
    points = [(p.metrics["accuracy"], -p.metrics["params"]) for p in run.pareto]
    assert points and len(set(points)) == len(points)
    assert not any(a != b and a[0] >= b[0] and a[1] >= b[1] for a in points for b in points)


def test_where_memory_is_short_the_batch_is_halved(tmp_path: Path) -> None:
    run = nd.search(
        RoomyCells(6),
        make_task(),
        strategy="spos",
        budget="epochs=1,trials=2",
        train_budget="epochs=1",
        validate=False,
        out=tmp_path / "run",
        quiet=True,
    )
    # As many samples as planned: twice the steps of half the batch.
    assert run.result["plan"]["batch_size"] == 6
    assert run.result["plan"]["search"] == {"steps": 4, "trials": 2}
    assert len(run.history.of(TRAINING)) == 1
