"""The sample of the op weighted_sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import ops
from .op_sample import LAYOUTS, OpCase, OpSample, draw

__all__ = ["WEIGHTED_SUM"]


def _formula(w: Tensor, *xs: Tensor) -> Tensor:
    total = w[0] * xs[0]
    for k in range(1, len(xs)):
        total = total + w[k] * xs[k]
    return total


def _raw(tensors: Sequence[Tensor]) -> list[tuple[Any, tuple[Any, ...]]]:
    w, *xs = tensors
    fwd = torch.ops.nas_domains.weighted_sum_fwd.default
    bwd = torch.ops.nas_domains.weighted_sum_bwd.default
    plain = [x.detach() for x in xs]
    g = torch.ones_like(plain[0])
    some = list(range(0, len(xs), 2))
    return [
        (fwd, (xs, w)),
        (bwd, (g, plain, w.detach(), some)),
        (bwd, (g, [], w.detach(), some)),
        (bwd, (g, plain, w.detach(), [])),
    ]


_x = torch.zeros(2, 3)
WEIGHTED_SUM = OpSample(
    name="weighted_sum",
    call=lambda w, *xs: ops.weighted_sum(xs, w),
    formula=_formula,
    inputs=lambda case, dtype, seed: draw(case, case.shape, dtype, seed),
    raw=_raw,
    cases=(
        *(OpCase((n,)) for n in (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 67)),
        *(OpCase((n,), count=2) for n in (4095, 4096, 4097, 8195)),
        OpCase((), count=2),
        OpCase((0,)),
        OpCase((2, 0, 3)),
        OpCase((5, 7), count=1),
        OpCase((5, 7), count=9),
        OpCase((2, 3, 5, 7), layouts=("channels_last",)),
        OpCase((2, 3, 3, 2, 5), layouts=("channels_last",)),
        OpCase((2, 3, 5, 7), layouts=LAYOUTS, count=5),
        OpCase((2, 3, 5, 7), layouts=("expanded", "sliced", "contiguous")),
        OpCase((4, 6), layouts=("transposed", "contiguous")),
    ),
    errors=(
        (lambda: ops.weighted_sum([], torch.ones(0)), ValueError, "empty list"),
        (lambda: ops.weighted_sum([_x, _x[:1]], torch.ones(2)), ValueError, r"xs\[1\] has shape"),
        (lambda: ops.weighted_sum([_x.int()], torch.ones(1)), TypeError, "torch.int32"),
        (lambda: ops.weighted_sum([_x], torch.ones(1).long()), TypeError, "w is torch.int64"),
        (lambda: ops.weighted_sum([_x, _x], torch.ones(3)), ValueError, r"w has shape \(3,\)"),
        (lambda: ops.weighted_sum([_x], torch.ones(1, 1)), ValueError, r"w has shape \(1, 1\)"),
        (lambda: ops.weighted_sum([_x, _x.to("meta")], torch.ones(2)), ValueError, "on meta"),
        (lambda: ops.weighted_sum([_x], torch.ones(1, device="meta")), ValueError, "w is on meta"),
        # As many dimensions and the same strides, but fewer elements than the tensors have.
        (
            lambda: torch.ops.nas_domains.weighted_sum_bwd(_x[:1], [_x, _x], torch.ones(2), [0]),
            RuntimeError,
            "tensors of one shape",
        ),
    ),
)
