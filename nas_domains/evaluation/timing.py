"""How long a step and an epoch take, for turning a time into a plan."""

import time
from collections.abc import Callable
from typing import Any

from torch import nn

from .context import Context
from .score import evaluate
from .train import Trainer


def seconds_each(
    step: Callable[[int], Any], *, least: int = 4, most: int = 50, seconds: float = 4.0
) -> float:
    """Mean seconds of a step, after one that does not count.

    Args:
        step: Called with 0, 1, 2, ...
        least: Steps that are timed at least.
        most: Steps that are timed at most.
        seconds: Time after which no more steps are begun.
    """
    step(0)
    began, done = time.perf_counter(), 0
    while done < least or (time.perf_counter() - began < seconds and done < most):
        done += 1
        step(done)
    return (time.perf_counter() - began) / done


def seconds_per_epoch(network: nn.Module, context: Context, seconds: float) -> float:
    """Seconds of an epoch of full training, with its scoring on the validation split.

    Args:
        network: A network to throw away.
        context: Of the run.
        seconds: About how long to measure.
    """
    trainer = Trainer(network.to(context.device), context, steps=10**6, order="plan")
    each = seconds_each(trainer.step, least=3, most=30, seconds=seconds)
    began = time.perf_counter()
    evaluate(network, context.task.val, context)
    return each * trainer.stream.steps_per_epoch + time.perf_counter() - began
