"""Benchmark of convolutions that keep their size, forward and backward, against torch's.

torch.compile calls the same convolution as eager does, so it is no peer of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..ops import convolve
from ..testing.op_samples import CONVOLVE
from .harness import arithmetic_rate, compare, peak_bytes

__all__ = ["SAMPLE", "measure"]

SAMPLE = CONVOLVE
# Batch, channels, sides, kernel. The paths of a DiNTS network at its three resolutions, with the
# kernels of their candidates; images and recordings.
CASES = (
    *((2, 32, (16, 24, 16), kernel) for kernel in ((3, 3, 3), (3, 1, 3), (1, 1, 3))),
    *((2, 64, (8, 12, 8), kernel) for kernel in ((3, 3, 3), (3, 1, 3), (1, 1, 3))),
    *((2, 128, (4, 6, 4), kernel) for kernel in ((3, 3, 3), (3, 1, 3), (1, 1, 3))),
    (64, 16, (32, 32), (3, 3)),
    (64, 64, (8, 8), (3, 3)),
    (32, 64, (128,), (3,)),
)
_CONVOLUTIONS: Any = {
    1: torch.nn.functional.conv1d,
    2: torch.nn.functional.conv2d,
    3: torch.nn.functional.conv3d,
}


def measure(rounds: int, device: str) -> list[dict[str, Any]]:
    """Returns one record for each case: variants with their times and memory, and the floor.

    The floor is the time of the products of the three passes (values, gradients of input and
    weight) at the measured rate of arithmetic, for each output and pair of channels 4/2 along each
    side of 3, without the additions of the transforms.
    """
    rate = arithmetic_rate(device)
    return [_measure_case(case, rounds, device, rate) for case in CASES]


def _innermost(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def _measure_case(
    case: tuple[int, int, tuple[int, ...], tuple[int, ...]], rounds: int, device: str, rate: float
) -> dict[str, Any]:
    batch, channels, sides, kernel = case
    g = torch.Generator().manual_seed(0)
    shapes = ((batch, channels, *sides), (channels, channels, *kernel))
    x, w = (torch.randn(shape, generator=g).to(device) for shape in shapes)
    dy = torch.randn(batch, channels, *sides, generator=g).to(device)
    padding = [k // 2 for k in kernel]

    def theirs(x: Tensor, w: Tensor) -> Tensor:
        y: Tensor = _CONVOLUTIONS[len(kernel)](x, w, padding=padding)
        return y

    def step(call: Callable[..., Tensor], innermost: bool) -> Callable[[], object]:
        laid = (_innermost(t) if innermost else t.clone() for t in (x, w))
        leaves = [t.requires_grad_() for t in laid]
        own = _innermost(dy) if innermost else dy
        return lambda: torch.autograd.grad(call(*leaves), leaves, own)

    variants = {
        "nas_domains": step(convolve, True),
        "eager CL": step(theirs, True),
        "eager": step(theirs, False),
    }
    rows = compare(variants, rounds, device=device)
    products = batch * channels**2 * math.prod(sides) * 2 ** sum(k == 3 for k in kernel)
    return {
        "case": f"{'x'.join(map(str, shapes[0]))}, {'x'.join(map(str, kernel))}, float32 "
        "(CL: channels-last)",
        "bytes": sum(4 * t.numel() for t in (x, w, dy)),
        "floor": 3 * 2 * products / rate,
        "rows": [
            vars(row) | {"memory": peak_bytes(variants[row.variant], device)} for row in rows
        ],
    }
