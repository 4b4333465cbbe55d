"""How long a step and an epoch take, for turning a time into a plan."""

import time
from collections.abc import Callable
from dataclasses import dataclass
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


LEAST = 3
"""Steps of an epoch that are timed at least."""


@dataclass(frozen=True)
class EpochTime:
    """How long an epoch of full training takes.

    Attributes:
        step: Seconds of a step.
        steps: Steps of an epoch.
        scoring: Seconds of scoring the validation split, which ends each epoch.
    """

    step: float
    steps: int
    scoring: float

    @property
    def seconds(self) -> float:
        """Of an epoch with its scoring."""
        return self.step * self.steps + self.scoring

    def looked(self, seconds: float) -> float:
        """What :func:`epoch_time` takes to find it.

        Args:
            seconds: As it is told.
        """
        return max(seconds, (1 + LEAST) * self.step) + self.scoring

    def epochs(self, seconds: float) -> float:
        """The epochs that come nearest to a time, the last begun or whole; a step at least.

        Args:
            seconds: To spend, scoring among them.
        """
        whole, rest = divmod(seconds, max(self.seconds, 1e-9))
        steps = round(max(0.0, rest - self.scoring) / max(self.step, 1e-9))
        steps = int(whole) * self.steps + min(steps, self.steps)
        return round(max(1, steps) / self.steps, 6)


def epoch_time(network: nn.Module, context: Context, seconds: float) -> EpochTime:
    """Measures an epoch of full training, of samples that are prepared already.

    Args:
        network: A network to throw away.
        context: Of the run.
        seconds: About how long to measure.
    """
    # What splits prepare once and keep, only what is timed first would wait for.
    for split, drawn in ((context.task.train, True), (context.task.val, False)):
        ready = getattr(split, "ready", None)
        if ready is not None:
            ready(drawn)
    trainer = Trainer(network.to(context.device), context, steps=10**6, order="plan")
    each = seconds_each(trainer.step, least=LEAST, most=30, seconds=seconds)
    began = time.perf_counter()
    evaluate(network, context.task.val, context)
    scoring = time.perf_counter() - began
    return EpochTime(each, trainer.stream.steps_per_epoch, scoring)
