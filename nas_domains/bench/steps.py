"""One forward and backward of a module, timed by the clock of its device."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Step", "replayed"]

_cuda: Any = torch.cuda  # untyped in part


@dataclass(frozen=True)
class Step:
    """A call and the gradients that are asked of it.

    Attributes:
        call: Of x and w.
        x: Its input.
        w: Its weights.
        leaves: What gradients are asked for.
        g: Gradient of its output.
    """

    call: Callable[[Tensor, Tensor], Tensor]
    x: Tensor
    w: Tensor
    leaves: list[Any]
    g: Tensor

    def run(self, between: Callable[[], object] = lambda: None) -> None:
        """Forward, ``between``, backward."""
        y = self.call(self.x, self.w)
        between()
        torch.autograd.grad(y, self.leaves, self.g)

    def __call__(self) -> tuple[float, float]:
        """Returns the seconds of the forward and of the backward."""
        if self.x.is_cuda:
            first, second = _timed(self.run, 3)
            return first, second
        times = [time.perf_counter()]
        self.run(lambda: times.append(time.perf_counter()))
        times.append(time.perf_counter())
        return times[1] - times[0], times[2] - times[1]


def _timed(run: Callable[..., object], events: int) -> list[float]:
    """Seconds between CUDA events: before, after, and where ``run`` calls what it is given."""
    found = [_cuda.Event(enable_timing=True) for _ in range(events)]
    found[0].record()
    run(*(event.record for event in found[1:-1]))
    found[-1].record()
    found[-1].synchronize()
    return [a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(found)]


def replayed(step: Step) -> Callable[[], tuple[float, float]]:
    """Captures a step into a CUDA graph; returns a call that times it, as (all, 0)."""
    side = _cuda.Stream()
    side.wait_stream(_cuda.current_stream())
    with _cuda.stream(side):
        for _ in range(3):
            step.run()
    _cuda.current_stream().wait_stream(side)
    graph = _cuda.CUDAGraph()
    with _cuda.graph(graph):
        step.run()
    return lambda: (_timed(graph.replay, 2)[0], 0.0)
