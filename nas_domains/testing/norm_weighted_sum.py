"""The samples of the op norm_weighted_sum: statistics of the batch, given, a weight a channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import ops
from .op_sample import LAYOUTS, OpCase, OpSample, draw

__all__ = ["NORM_WEIGHTED_SUM", "NORM_WEIGHTED_SUM_CHANNELS", "NORM_WEIGHTED_SUM_GIVEN"]

EPS = 1e-5


def _flags(count: int) -> list[bool]:
    """Which branches are normed: all but the second, fifth, ..."""
    return [k % 3 != 1 for k in range(count)]


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with a batch and channels."""
    return shape if len(shape) > 1 else (3, *(shape or (2,)))


def _inputs(case: OpCase, dtype: torch.dtype, seed: int) -> list[Tensor]:
    """As the case says, but with two values for each channel at least."""
    shape = _shape(case.shape)
    if shape[0] * math.prod(shape[2:]) < 2:
        shape = (3, shape[1], *(max(side, 1) for side in shape[2:]))
    return draw(case, shape, dtype, seed)


def _given(xs: Sequence[Tensor], dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """Fixed statistics [N, C]."""
    shape = (sum(_flags(len(xs))), xs[0].shape[1])
    like: dict[str, Any] = {"dtype": dtype or xs[0].dtype, "device": xs[0].device}
    mean = torch.linspace(-1, 1, math.prod(shape), dtype=torch.float64).reshape(shape)
    return mean.to(**like), (mean.square() + 0.25).to(**like)


def _space(x: Tensor) -> list[int]:
    return [d for d in range(x.dim()) if d != 1]


def _factor(w: Tensor, k: int, x: Tensor) -> Tensor:
    """Weight k of [K], or of [K, C] as [1, C, 1, ...]."""
    return w[k].reshape(1, -1, *(1,) * (x.dim() - 2)) if w.dim() == 2 else w[k]


def _channel_inputs(case: OpCase, dtype: torch.dtype, seed: int) -> list[Tensor]:
    """As of the others, with weights [K, C] that lie as [C, K] does."""
    w, *xs = _inputs(case, dtype, seed)
    spread = torch.linspace(0.5, 2, xs[0].shape[1], dtype=torch.float64)
    return [(w.double()[:, None] * spread).to(dtype).t().contiguous().t(), *xs]


def _moments(xs: Sequence[Tensor], given: bool) -> list[tuple[Tensor, Tensor] | None]:
    """Mean and variance of each branch as [1, C, 1, ...], None for one that is not normed."""
    out: list[tuple[Tensor, Tensor] | None] = []
    form = (1, -1, *(1,) * (xs[0].dim() - 2))
    rows = iter(zip(*_given(xs), strict=True))
    for x, on in zip(xs, _flags(len(xs)), strict=True):
        if not on:
            out.append(None)
        elif given:
            mean, var = next(rows)
            out.append((mean.reshape(form), var.reshape(form)))
        else:
            mean = x.mean(_space(x), keepdim=True)
            out.append((mean, (x - mean).square().mean(_space(x), keepdim=True)))
    return out


def _formula(given: bool, w: Tensor, *xs: Tensor) -> Tensor:
    # In a half type the variance of a constant channel plus eps would round to zero.
    wide = [x.to(torch.promote_types(x.dtype, torch.float32)) for x in xs]
    total = torch.zeros_like(wide[0])
    for k, (x, moments) in enumerate(zip(wide, _moments(wide, given), strict=True)):
        if moments is not None:
            mean, var = moments
            x = (x - mean) / (var + EPS).sqrt()
        total = total + _factor(w, k, x).to(x.dtype) * x
    return total.to(xs[0].dtype)


def _sizes(given: bool, g: Tensor, w: Tensor, *xs: Tensor) -> list[Tensor]:
    """The absolute terms of the formulas in ``nas_domains.ops.norm_weighted_sum``."""
    g, w = g.abs(), w.abs()
    value = torch.zeros_like(g)
    dw, dxs = [], []
    for k, (x, moments) in enumerate(zip(xs, _moments(xs, given), strict=True)):
        size, inner, inverse = x.abs(), g, torch.ones(())
        if moments is not None:
            mean, var = moments
            inverse = (var + EPS).rsqrt()
            size = (x.abs() + mean.abs()) * inverse
            x_hat = ((x - mean) * inverse).abs()
            if not given:
                off = x_hat * (g * x_hat).mean(_space(x), keepdim=True)
                inner = g + g.mean(_space(x), keepdim=True) + off
        value = value + _factor(w, k, x) * size
        dw.append((g * size).sum(_space(x)) if w.dim() == 2 else (g * size).sum())
        dxs.append(_factor(w, k, x) * inverse * inner)
    return [value, torch.stack(dw), *dxs]


def _call(given: bool, w: Tensor, *xs: Tensor) -> Tensor:
    flags = _flags(len(xs))
    if not given:
        return ops.norm_weighted_sum(xs, w, flags, eps=EPS)[0]
    acc = torch.promote_types(xs[0].dtype, torch.float32)
    return ops.norm_weighted_sum(xs, w, flags, *_given(xs, acc), eps=EPS)[0]


def _raw(given: bool, tensors: Sequence[Tensor]) -> list[tuple[Any, tuple[Any, ...]]]:
    w, *xs = tensors
    fwd = torch.ops.nas_domains.norm_weighted_sum_fwd.default
    bwd = torch.ops.nas_domains.norm_weighted_sum_bwd.default
    plain = [x.detach() for x in xs]
    g, v = torch.ones_like(plain[0]), w.detach()
    flags = _flags(len(xs))
    acc = torch.promote_types(g.dtype, torch.float32)
    mean, var = _given(plain, acc)
    some = list(range(0, len(xs), 2))
    return [
        (fwd, (xs, w, flags, *((mean, var) if given else (None, None)), EPS)),
        (bwd, (g, plain, v, flags, mean, var, EPS, not given, some, True)),
        (bwd, (g, plain, v, flags, mean, var, EPS, not given, some, False)),
        (bwd, (g, plain, v, flags, mean, var, EPS, not given, [], True)),
    ]


_x = torch.zeros(2, 3)
_s = torch.zeros(1, 3)
_f = ops.norm_weighted_sum
# Every number of channels folds otherwise; 300 rows and more pass a chunk and a tile.
_CASES = (
    *(OpCase((5, n)) for n in (1, 2, 3, 4, 5, 8, 12, 16, 20, 31, 32, 33, 63, 64, 67, 130)),
    *(OpCase((n, 4), count=2) for n in (2, 3, 4, 5, 9, 300)),
    OpCase((2100, 9), count=1),
    OpCase((3, 0, 4)),
    OpCase((2, 3, 5), count=1),
    OpCase((2, 3, 5, 7), count=9),
    OpCase((2, 3, 1, 1)),
    *(OpCase((2, 3, n), count=2) for n in (2, 31, 32, 33, 67, 1024, 1025, 9000)),
    OpCase((1, 2, 60, 60)),
    OpCase((2, 3, 5, 7), layouts=("channels_last",)),
    OpCase((3, 24, 17, 9), layouts=("channels_last",)),
    OpCase((2, 1, 90, 99), layouts=("channels_last",)),
    OpCase((2, 3, 3, 2, 5), layouts=("channels_last",)),
    OpCase((2, 3, 5, 7), layouts=LAYOUTS, count=5),
    OpCase((2, 3, 5, 7), layouts=("expanded", "sliced", "contiguous")),
    OpCase((4, 6, 5), layouts=("transposed", "contiguous")),
)

NORM_WEIGHTED_SUM = OpSample(
    name="norm_weighted_sum",
    call=lambda w, *xs: _call(False, w, *xs),
    formula=lambda w, *xs: _formula(False, w, *xs),
    inputs=_inputs,
    raw=lambda tensors: _raw(False, tensors),
    cases=_CASES,
    errors=(
        (lambda: _f([], torch.ones(0)), ValueError, "empty list"),
        (lambda: _f([_x[0]], torch.ones(1)), ValueError, r"\[B, C, ...\]"),
        (lambda: _f([_x, _x[:1]], torch.ones(2)), ValueError, r"xs\[1\] has shape"),
        (lambda: _f([_x.int()], torch.ones(1)), TypeError, "torch.int32"),
        (lambda: _f([_x], torch.ones(1).long()), TypeError, "w is torch.int64"),
        (lambda: _f([_x, _x], torch.ones(3)), ValueError, r"w has shape \(3,\)"),
        (lambda: _f([_x], torch.ones(1, 1)), ValueError, r"w has shape \(1, 1\)"),
        (lambda: _f([_x, _x.to("meta")], torch.ones(2)), ValueError, "on meta"),
        (lambda: _f([_x], torch.ones(1, device="meta")), ValueError, "w is on meta"),
        (lambda: _f([_x, _x], torch.ones(2), [True]), ValueError, "normed has 1 entries"),
        (lambda: _f([_x[:1]], torch.ones(1)), ValueError, "more than 1 value per channel"),
        (lambda: _f([_x[:0]], torch.ones(1)), ValueError, "more than 1 value per channel"),
        (
            lambda: torch.ops.nas_domains.norm_weighted_sum_bwd(
                _x[:1], [_x], torch.ones(1), [True], _s, _s, EPS, True, [0], True
            ),
            RuntimeError,
            "tensors of one shape",
        ),
    ),
    sizes=lambda g, w, *xs: _sizes(False, g, w, *xs),
)

NORM_WEIGHTED_SUM_GIVEN = OpSample(
    name="norm_weighted_sum with given statistics",
    call=lambda w, *xs: _call(True, w, *xs),
    formula=lambda w, *xs: _formula(True, w, *xs),
    inputs=lambda case, dtype, seed: draw(case, _shape(case.shape), dtype, seed),
    raw=lambda tensors: _raw(True, tensors),
    cases=(OpCase((0, 3)), OpCase((1, 3)), OpCase((2, 3, 0)), *_CASES),
    errors=(
        (lambda: _f([_x], torch.ones(1), None, _s), ValueError, "both or neither"),
        (lambda: _f([_x], torch.ones(1), [False], _s, _s), ValueError, r"give it \(0, 3\)"),
        (lambda: _f([_x], torch.ones(1), None, _s, _s[:, :2]), ValueError, "var has shape"),
        (lambda: _f([_x], torch.ones(1), None, _s.int(), _s), TypeError, "mean is torch.int32"),
        (lambda: _f([_x], torch.ones(1), None, _s.to("meta"), _s), ValueError, "mean is on meta"),
        (
            lambda: _f([_x], torch.ones(1), None, _s, _s.clone().requires_grad_()),
            ValueError,
            "var gets no gradient",
        ),
    ),
    sizes=lambda g, w, *xs: _sizes(True, g, w, *xs),
)

NORM_WEIGHTED_SUM_CHANNELS = OpSample(
    name="norm_weighted_sum with a weight a channel",
    call=lambda w, *xs: _call(False, w, *xs),
    formula=lambda w, *xs: _formula(False, w, *xs),
    inputs=_channel_inputs,
    raw=lambda tensors: _raw(False, tensors),
    cases=(
        OpCase((5, 4)),
        OpCase((2, 3, 5), count=1),
        OpCase((2, 3, 5, 7), layouts=("channels_last",)),
        OpCase((1, 24, 5, 3, 2), layouts=("channels_last",), count=5),
        OpCase((2, 3, 5, 7), layouts=LAYOUTS, count=5),
    ),
    errors=((lambda: _f([_x], torch.ones(1, 2)), ValueError, r"or for each of their 3 channels"),),
    sizes=lambda g, w, *xs: _sizes(False, g, w, *xs),
)
