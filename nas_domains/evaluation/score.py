"""Scoring: the task's metrics of a network on a split, and what the network costs."""

import warnings

import torch
from torch import Tensor, nn

from ..core.evaluate import Metrics
from ..core.task import Split
from ..hardware.cost import count_macs, count_params, measure_latency
from .context import Context
from .stream import gather

EVALUATION_BATCH = 256


@torch.no_grad()
def evaluate(
    network: nn.Module,
    split: Split,
    context: Context,
    indices: list[int] | None = None,
    *,
    predicted: list[int] | None = None,
) -> Metrics:
    """The task's metrics and the mean loss on a split, in evaluation mode.

    Args:
        network: On the context's device; its mode is left as it was.
        split: The samples.
        context: Of the run.
        indices: The part of the split that counts; all where None.
        predicted: Where given, the class of the largest score of each sample is added to it.

    Returns:
        Name -> value; None where a metric is not defined on these samples.
    """
    order = list(range(len(split))) if indices is None else indices
    metrics = {name: metric.clone() for name, metric in context.task.metrics.items()}
    was_training = network.training
    network.eval()
    total = 0.0
    size = min(EVALUATION_BATCH, max(context.batch_size, 1) * 4)
    for start in range(0, len(order), size):
        x, y = context.to_device(*gather(split, order[start : start + size]))
        with context.accelerator.autocast():
            output = network(x)
        output = full_precision(output)
        total += float(context.task.loss(output, y)) * len(y)
        if predicted is not None:
            predicted += output.argmax(1).tolist()
        for metric in metrics.values():
            metric.update(output.cpu(), y.cpu())
    network.train(was_training)
    result: Metrics = {"loss": total / len(order)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, metric in metrics.items():
            value = float(metric.compute())
            result[name] = value if value == value else None
    return result


def full_precision(output: Tensor) -> Tensor:
    """Half types as float32, in which losses are computed; others as they are."""
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output


def costs(network: nn.Module, input_shape: tuple[int, ...], *, latency: bool = True) -> Metrics:
    """``params``, ``macs`` and, where asked for, ``latency_ms`` of a network as it lies."""
    found: Metrics = {
        "params": count_params(network),
        "macs": count_macs(network, input_shape),
    }
    if latency:
        found["latency_ms"] = measure_latency(network, input_shape)
    return found
