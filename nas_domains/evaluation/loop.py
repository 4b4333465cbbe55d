"""The one training loop: steps, epochs, checkpoints, and going on where a kill left it."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..core.progress import Reporter
from ..core.seeds import seed_all
from ..ops.backend import release_memory
from . import checkpoint

SAVE_EVERY_SECONDS = 20.0
"""Most work that a kill can cost, besides the step under way."""


class Stateful(Protocol):
    """Anything whose state a checkpoint keeps: modules, optimizers, meters."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


class Meter:
    """Means of an epoch and the seconds it has taken, kept over a kill."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.seconds = 0.0

    def add(self, **values: Tensor) -> None:
        """Adds a step's values; they stay on their device, so nothing waits for them."""
        self.count += 1
        for name, value in values.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def means(self) -> dict[str, float]:
        """The mean of each value since the last reset."""
        return {name: float(total) / max(1, self.count) for name, total in self.sums.items()}

    def reset(self) -> None:
        """Starts an epoch."""
        self.sums, self.count, self.seconds = {}, 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"sums": dict(self.sums), "count": self.count, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.sums, self.count = dict(state["sums"]), state["count"]
        self.seconds = state["seconds"]


def run_loop(
    *,
    stage: str,
    seed: int,
    steps: int,
    steps_per_epoch: int,
    state: Mapping[str, Stateful],
    step: Callable[[int], None],
    epoch_end: Callable[[int], str],
    meter: Meter,
    path: Path | None,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Runs steps to their end, from the checkpoint if there is one.

    The random generators are set before each step from (seed, stage, step) alone, so the steps
    after a kill are those of a run that was never killed.

    Args:
        stage: Name of the stage, for the generators and the progress bar.
        seed: The run's seed.
        steps: Steps in all.
        steps_per_epoch: Steps an epoch; the last epoch may be shorter.
        state: What is saved and restored, by name.
        step: Called with the number of each step.
        epoch_end: Called with the number of each epoch (from 1) at its end; returns a few words.
        meter: Reset at the start of each epoch; its seconds are kept here.
        path: The checkpoint, or None to keep none.
        reporter: Shows progress.
        stop: Asked at the start and after each epoch's end: whether this is the end already.
    """
    state = {**state, "meter": meter}
    done = _restore(path, state)
    saved = time.monotonic()
    try:
        with reporter.bar(stage, steps, "steps") as advance:
            advance(done)
            stopped = stop()
            while done < steps and not stopped:
                began = time.perf_counter()
                seed_all(seed, stage, done)
                step(done)
                done += 1
                meter.seconds += time.perf_counter() - began
                advance(done)
                ends = done % steps_per_epoch == 0 or done == steps
                if ends:
                    advance(done, epoch_end(math.ceil(done / steps_per_epoch)))
                    meter.reset()
                    stopped = stop()
                if path is not None and (ends or time.monotonic() - saved > SAVE_EVERY_SECONDS):
                    _save(path, done, state)
                    saved = time.monotonic()
    finally:
        # What follows has maps of other sizes.
        release_memory()


def _save(path: Path, done: int, state: Mapping[str, Stateful]) -> None:
    content = {name: part.state_dict() for name, part in state.items()}
    checkpoint.save(path, {"done": done, "state": content})


def _restore(path: Path | None, state: Mapping[str, Stateful]) -> int:
    if path is None or not path.exists():
        return 0
    saved = checkpoint.load(path)
    for name, part in state.items():
        part.load_state_dict(saved["state"][name])
    done: int = saved["done"]
    return done


def learning_rate(
    step: int, steps: int, peak: float, warmup: float, schedule: str = "cosine"
) -> float:
    """Linear warm-up, then a half cosine (Loshchilov & Hutter 2017) or a line down to zero.

    Args:
        step: Number of the step, from 0.
        steps: Steps in all.
        peak: Largest rate.
        warmup: Share of the steps that rise.
        schedule: "cosine" or "linear".
    """
    rising = int(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    share = (step - rising) / max(1, steps - rising)
    return peak * (1 - share if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * share)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
