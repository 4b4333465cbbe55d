"""Benchmark of norm_weighted_sum, forward and backward, against torch's batch norm and a sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import batch_norm

from ..ops import norm_weighted_sum
from ..testing.op_samples import NORM_WEIGHTED_SUM, OpCase
from .harness import compare, copy_rate, peak_bytes

__all__ = ["SAMPLE", "measure"]

SAMPLE = NORM_WEIGHTED_SUM
# An edge of a DARTS network with the seven candidates that compute; partial channels; a 3D and a
# 1D space. All are normed, for the peers to do the same.
CASES = tuple(
    OpCase(shape, 7)
    for shape in (
        (64, 16, 32, 32),
        (64, 32, 16, 16),
        (64, 64, 8, 8),
        (64, 4, 28, 28),
        (2, 16, 32, 32, 32),
        (32, 32, 512),
    )
)


def measure(rounds: int, device: str) -> list[dict[str, Any]]:
    """Returns one record for each shape: variants with their times and memory, and the floor.

    The floor is the time to move each byte once a pass, at the measured rate of a copy that moves
    as many: statistics read the K tensors; applying them reads K and writes one; the sums of the
    backward read K + 1; its application reads K + 1 and writes K.
    """
    return [_measure_case(case, rounds, device) for case in CASES]


def _channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def _peer(w: Tensor, *xs: Tensor) -> Tensor:
    total = w[0] * batch_norm(xs[0], None, None, training=True)
    for k in range(1, len(xs)):
        total = total + w[k] * batch_norm(xs[k], None, None, training=True)
    return total


def _ours(w: Tensor, *xs: Tensor) -> Tensor:
    return norm_weighted_sum(xs, w)[0]


def _measure_case(case: OpCase, rounds: int, device: str) -> dict[str, Any]:
    tensors = [t.to(device) for t in SAMPLE.inputs(case, torch.float32, 0)]
    plain = [t.requires_grad_() for t in tensors]
    last = [plain[0], *(_channels_last(t.detach()).requires_grad_() for t in tensors[1:])]
    g = torch.randn_like(plain[1])
    g_last = _channels_last(g)

    def step(call: Callable[..., Tensor], leaves: list[Tensor], g: Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(call(*leaves), leaves, g)

    torch.compiler.reset()
    compiled = torch.compile(_peer, fullgraph=True, dynamic=False)
    variants = {
        "nas_domains": step(_ours, last, g_last),
        "nas_domains NC": step(_ours, plain, g),
        "eager": step(_peer, plain, g),
        "eager CL": step(_peer, last, g_last),
        "compile": step(compiled, plain, g),
        "compile CL": step(compiled, last, g_last),
    }
    rows = compare(variants, rounds, device=device)
    bytes_moved = (5 * case.count + 3) * g.numel() * g.element_size()
    floor = bytes_moved / copy_rate(bytes_moved // 2, device)
    return {
        "case": f"{'x'.join(map(str, case.shape))}, K={case.count}, float32 (CL: channels-last)",
        "bytes": bytes_moved,
        "floor": floor,
        "rows": [
            vars(row) | {"memory": peak_bytes(variants[row.variant], device)} for row in rows
        ],
    }
