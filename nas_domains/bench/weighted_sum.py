"""Benchmark of weighted_sum, forward and backward, against eager PyTorch and torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..testing.op_samples import WEIGHTED_SUM, OpCase
from .harness import compare, copy_rate, peak_bytes

__all__ = ["SAMPLE", "measure"]

SAMPLE = WEIGHTED_SUM
# Shapes of one edge of a DARTS network, with the eight candidates of its space.
CASES = tuple(
    OpCase(shape, 8, ("channels_last",))
    for shape in ((64, 16, 32, 32), (64, 32, 16, 16), (64, 64, 8, 8))
)


def measure(rounds: int, device: str) -> list[dict[str, Any]]:
    """Returns one record for each shape: variants with their times and memory, and the floor.

    The floor is the time to move each byte once, at the measured rate of a copy that moves as
    many: the forward reads the K tensors and writes one, the backward reads K + 1 and writes K.
    """
    return [_measure_case(case, rounds, device) for case in CASES]


def _measure_case(case: OpCase, rounds: int, device: str) -> dict[str, Any]:
    tensors = [t.to(device) for t in SAMPLE.inputs(case, torch.float32, 0)]
    leaves = [t.detach().requires_grad_() for t in tensors]
    g = torch.randn_like(tensors[1])

    def step(call: Callable[..., torch.Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(call(*leaves), leaves, g)

    torch.compiler.reset()
    variants = {
        "nas_domains": step(SAMPLE.call),
        "eager": step(SAMPLE.formula),
        "torch.compile": step(torch.compile(SAMPLE.formula, fullgraph=True)),
    }
    rows = compare(variants, rounds, device=device)
    one = g.numel() * g.element_size()
    bytes_moved = (3 * case.count + 2) * one
    floor = bytes_moved / copy_rate(bytes_moved // 2, device)
    return {
        "case": f"{'x'.join(map(str, case.shape))}, K={case.count}, channels-last, float32",
        "bytes": bytes_moved,
        "floor": floor,
        "rows": [
            vars(row) | {"memory": peak_bytes(variants[row.variant], device)} for row in rows
        ],
    }
