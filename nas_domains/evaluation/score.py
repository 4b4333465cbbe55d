"""Scoring: the task's metrics of a network on a split, and what the network costs."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from ..core.evaluate import Metrics
from ..core.task import Split, Task
from ..hardware.cost import count_macs, count_params, measure_latency
from .context import Context
from .stream import gather

EVALUATION_BATCH = 256


def evaluate(
    network: nn.Module, split: Split, context: Context, indices: list[int] | None = None
) -> Metrics:
    """The task's metrics and the mean loss on a split, in evaluation mode.

    Samples go through the network in batches, or one by one where the task says how
    (:attr:`nas_domains.core.task.Task.infer`).

    Args:
        network: On the context's device; its mode is left as it was.
        split: The samples.
        context: Of the run.
        indices: The part of the split that counts; all where None.

    Returns:
        Name -> value; None where a metric is not defined on these samples.
    """
    order = list(range(len(split))) if indices is None else indices
    metrics = _fresh(context.task.metrics)
    loss = _update(network, split, context, order, metrics)
    return {"loss": loss} | _values(metrics)


def evaluate_test(
    network: nn.Module, context: Context, predicted: list[int] | None = None
) -> tuple[Metrics, dict[str, Any]]:
    """All metrics on the test split, those that take long too, and what each sample scored.

    Args:
        network: On the context's device; its mode is left as it was.
        context: Of the run.
        predicted: Where given, the class of the largest score of each sample is added to it.

    Returns:
        Name -> value as of :func:`evaluate`, and {"names": of the samples, metric -> a list [N] of
        what each scored}; empty where no metric tells samples apart.
    """
    task = context.task
    metrics = _fresh({**task.metrics, **task.final_metrics})
    order = list(range(len(task.test)))
    loss = _update(network, task.test, context, order, metrics, predicted, tested=True)
    told: dict[str, Any] = {name: getattr(m, "each", None) for name, m in metrics.items()}
    each = {name: tell().tolist() for name, tell in told.items() if tell is not None}
    names = list(getattr(task.test, "names", map(str, range(len(task.test)))))
    return {"loss": loss} | _values(metrics), {"names": names, **each} if each else {}


def _fresh(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    return {name: metric.clone() for name, metric in metrics.items()}


def _values(metrics: Mapping[str, Metric]) -> Metrics:
    values: Metrics = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, metric in metrics.items():
            value = float(metric.compute())
            values[name] = value if value == value else None
    return values


@torch.no_grad()
def _update(
    network: nn.Module,
    split: Split,
    context: Context,
    order: list[int],
    metrics: Mapping[str, Metric],
    predicted: list[int] | None = None,
    tested: bool = False,
) -> float:
    """Updates the metrics with all samples, and returns the mean loss."""
    task = context.task
    original = getattr(split, "original", None) if tested else None
    was_training = network.training
    network.eval()
    total = 0.0
    size = 1 if task.infer else min(EVALUATION_BATCH, max(context.batch_size, 1) * 4)
    for start in range(0, len(order), size):
        if task.infer is None:
            x, y = context.to_device(*gather(split, order[start : start + size]))
        else:
            whole, truth = split[order[start]]
            x, y = context.to_device(whole[None], truth[None])
        with context.accelerator.autocast():
            output = network(x) if task.infer is None else task.infer(network, x)
        output = full_precision(output)
        total += float(task.loss(output, y)) * len(y)
        if predicted is not None:
            predicted += output.argmax(1).tolist()
        if original is not None:
            output, y = original(order[start], output)
        for metric in metrics.values():
            metric.update(output.cpu(), y.cpu())
    network.train(was_training)
    return total / len(order)


def full_precision(output: Tensor) -> Tensor:
    """Half types as float32, in which losses are computed; others as they are."""
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output


def costs(network: nn.Module, task: Task, *, latency: bool = True) -> Metrics:
    """``params``, ``macs`` and, where asked for, ``latency_ms`` of a network as it lies.

    MACs are those of one pass of the task's input shape, the latency is that of all the passes
    that a usual sample takes.
    """
    found: Metrics = {
        "params": count_params(network),
        "macs": count_macs(network, task.input_shape),
    }
    if latency:
        found["latency_ms"] = task.passes * measure_latency(network, task.input_shape)
    return found
