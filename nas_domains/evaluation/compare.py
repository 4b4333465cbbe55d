"""The full-training check: winner, random architectures and hand-made networks on one recipe."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.architecture import Architecture
from ..core.evaluate import Metrics
from ..core.files import write_json
from ..core.history import RANK, Record
from ..hardware.meters import measured
from . import checkpoint
from .context import Context
from .rank import kendall_tau, relative_gain, top_tau
from .score import costs, evaluate_test
from .timing import epoch_time
from .train import fresh, train

WINNER = "winner"
PICTURES = "pictures"
"""Folder beside the best network's weights with pictures of what it does."""
MOST_PREDICTIONS = 2000
"""Samples of a test split up to which the record keeps each network's predictions."""


@dataclass(frozen=True)
class Row:
    """One network of the comparison.

    Attributes:
        name: "winner", "random/0", ..., or the name of a hand-made network.
        build: Makes it, freshly initialised.
        architecture: Its architecture, or None for a hand-made one.
    """

    name: str
    build: Callable[[], nn.Module]
    architecture: Architecture | None = None


def architecture_row(context: Context, name: str, architecture: Architecture) -> Row:
    """The row of an architecture of the run's space."""
    task = context.task
    return Row(
        name,
        lambda: context.space.build(architecture, task.input_shape, task.outputs),
        architecture,
    )


def epochs_of(context: Context, row: Row, seconds: float) -> float:
    """Epochs of a row's training that take a time, by its own speed.

    All rows are compared after the same time; a small network sees the data more often.
    """
    return epoch_time(row.build(), context, 0.04 * seconds).epochs(seconds)


def train_rows(
    context: Context,
    rows: list[Row],
    *,
    epochs: Callable[[Row], float],
    seeds: int,
    best: Path,
) -> None:
    """Trains every row with every seed and scores it once on the test split.

    What the history holds already is not done again. The winner's network, of the seed that is
    best on validation, is kept in ``best``.

    Args:
        context: Of the run.
        rows: What is compared.
        epochs: How long a row trains; asked before each training, and says the same each time.
        seeds: Trainings of each row.
        best: Folder of the winner's network.
    """
    for seed in range(seeds):
        for row in rows:
            stage = f"{row.name}/{seed}"
            if context.history.find(f"test/{stage}", 0) is None:
                _train_row(context, row, stage, epochs(row), seed, best)


def _train_row(
    context: Context, row: Row, stage: str, epochs: float, seed: int, best: Path
) -> None:
    task = context.task
    order = f"train/{seed}"
    fresh(context, order)
    architecture = None if row.architecture is None else dict(row.architecture)
    network, chosen = train(
        row.build(),
        context,
        stage=f"train/{stage}",
        epochs=epochs,
        architecture=architecture,
        order=order,
    )
    began = time.perf_counter()
    # With what each sample was taken for, rows can be compared pair by pair.
    predicted: list[int] | None = None
    if task.classes and task.infer is None and len(task.test) <= MOST_PREDICTIONS:
        predicted = []
    scored, each = evaluate_test(network, context, predicted)
    metrics = scored | costs(network, task)
    metrics |= measured(network, task, context.objectives)
    if row.name == WINNER and _leads(context, chosen, seed):
        save_network(best, context, network, row.architecture)
        illustrate(best / PICTURES, context, network, each)
    spent = sum(r.seconds for r in context.history.of(f"train/{stage}"))
    record = context.history.add(
        Record(
            stage=f"test/{stage}",
            step=0,
            architecture=architecture,
            fidelity={"epochs": epochs},
            metrics=metrics,
            seconds=time.perf_counter() - began,
            detail={"validation": chosen, "train_seconds": spent}
            | ({"samples": each} if each else {})
            | ({"predicted": predicted} if predicted is not None else {}),
        )
    )
    (context.checkpoints / f"train/{stage}.safetensors").unlink(missing_ok=True)
    goal = context.goal.metric if context.goal.metric in record.metrics else "loss"
    context.reporter.say(f"  {stage}: test {goal} {record.metrics[goal] or 0:.4f}")


def _leads(context: Context, chosen: Mapping[str, Any], seed: int) -> bool:
    earlier = [context.history.find(f"test/{WINNER}/{s}", 0) for s in range(seed)]
    scores = [context.score(r.detail["validation"]) for r in earlier if r is not None]
    return all(context.score(chosen) > score for score in scores)


def save_network(
    best: Path, context: Context, network: nn.Module, architecture: Architecture | None
) -> None:
    """Writes the folder that ``nd.load`` reads: architecture, what it takes, weights."""
    task = context.task
    best.mkdir(parents=True, exist_ok=True)
    write_json(
        best / "network.json",
        {
            "space": context.space.name,
            "config": context.space.config,
            "architecture": None if architecture is None else architecture.as_dict(),
            "input_shape": list(task.input_shape),
            "outputs": task.outputs,
            "classes": list(task.classes),
            "preprocess": dict(task.preprocess),
        },
    )
    state: dict[str, torch.Tensor] = dict(network.state_dict())
    checkpoint.save(best / "model.safetensors", state)


def illustrate(
    folder: Path, context: Context, network: nn.Module, each: Mapping[str, Any]
) -> None:
    """Draws the worst, the middle and the best test sample, where the task knows how."""
    task = context.task
    if task.illustrate is None:
        return
    order = list(range(len(task.test)))
    scores = each.get(context.goal.metric)
    if scores is not None:
        # A sample may have several scores, of which some are not defined.
        order.sort(key=lambda i: float(torch.tensor(scores[i]).nanmean().nan_to_num(-math.inf)))
    chosen = list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]]))
    task.illustrate(network, chosen, folder)


def summarise(context: Context, rows: list[Row], seeds: int) -> dict[str, Any]:
    """The numbers of ``result.json`` that the comparison gives.

    A row's metrics are means over its seeds. The winner's gain over the mean random architecture
    comes with a standard error: the spread s of the n random rows stands for the spread of the
    winner too where it was trained with one seed, so the error is s sqrt(1/n + 1/seeds). With
    several seeds the winner's own spread is used.

    Returns:
        {"best_metrics", "random_baseline", "baselines"}; None where a check was not run.
    """
    tested = {row.name: [_test(context, row.name, s) for s in range(seeds)] for row in rows}
    means = {name: _mean(metrics) for name, metrics in tested.items()}
    goal = context.goal.metric
    random = [m for name, m in means.items() if name.startswith("random/")]
    hand_made = {n: m for n, m in means.items() if n != WINNER and not n.startswith("random/")}
    baseline = None
    if random:
        values = [_value(m, goal) for m in random]
        spread = _spread(values)
        winner = [_value(m, goal) for m in tested[WINNER]]
        own = _spread(winner) if len(winner) > 1 else spread
        sign = 1.0 if context.goal.direction == "max" else -1.0
        mean, best = statistics.fmean(values), statistics.fmean(winner)
        measurable = math.isfinite(best) and math.isfinite(mean) and mean != 0
        baseline = {
            "n": len(random),
            "mean": mean,
            "std": spread,
            "relative_gain": sign * relative_gain(best, values) if measurable else math.nan,
            "metrics": random,
            "winner_beats_mean_by": {
                "difference": sign * (best - mean),
                "standard_error": math.sqrt(spread**2 / len(values) + own**2 / len(winner)),
            },
        }
    return {
        "best_metrics": means[WINNER],
        "random_baseline": baseline,
        "baselines": hand_made or None,
    }


def rank(
    context: Context, rows: list[Row], winner: Record, seeds: int
) -> dict[str, Any] | None:
    """How well scores in shared weights rank the architectures that were fully trained.

    Args:
        context: Of the run.
        rows: That were trained.
        winner: Its record of the search.
        seeds: Trainings of each row.

    Returns:
        {"n", "kendall_tau", "top_tau"}, of the goal, the latter among the best fifth and null
        where that is fewer than two; None where the search scored no such architectures, or a
        score is missing.
    """
    records = context.history.of(RANK)
    pairs = [("random/" + str(r.step), r) for r in records]
    if not pairs or not any(row.name == WINNER for row in rows):
        return None
    goal = context.goal
    scores: list[float] = []
    truth: list[float] = []
    for name, record in [(WINNER, winner), *pairs]:
        trained = _mean([_test(context, name, s) for s in range(seeds)])
        for metrics, into in ((record.metrics, scores), (trained, truth)):
            if metrics.get(goal.metric) is None:
                return None
            into.append(goal.score(metrics))
    top = math.ceil(0.2 * len(truth)) >= 2
    found = {"n": len(truth), "kendall_tau": kendall_tau(scores, truth)}
    return found | {"top_tau": top_tau(scores, truth) if top else None}


def _test(context: Context, name: str, seed: int) -> Metrics:
    record = context.history.find(f"test/{name}/{seed}", 0)
    assert record is not None
    return dict(record.metrics)


def _mean(metrics: list[Metrics]) -> Metrics:
    means: Metrics = {}
    for name in metrics[0]:
        values = [m[name] for m in metrics]
        known = [v for v in values if v is not None]
        means[name] = statistics.fmean(known) if len(known) == len(values) else None
    for name in ("params", "macs"):
        if means.get(name) is not None:
            means[name] = metrics[0][name]
    return means


def _spread(values: list[float]) -> float:
    """Standard deviation; NaN of a single value, or where one is missing."""
    known = len(values) > 1 and all(map(math.isfinite, values))
    return statistics.stdev(values) if known else math.nan


def _value(metrics: Metrics, name: str) -> float:
    value = metrics.get(name)
    return math.nan if value is None else value
