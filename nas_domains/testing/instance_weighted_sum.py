"""The sample of the op instance_weighted_sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import ops
from .op_sample import LAYOUTS, OpCase, OpSample, draw

__all__ = ["INSTANCE_WEIGHTED_SUM"]

EPS = 1e-5


def _flags(count: int) -> list[bool]:
    """Which branches are normed: all but the second, fifth, ..."""
    return [k % 3 != 1 for k in range(count)]


def _inputs(case: OpCase, dtype: torch.dtype, seed: int) -> list[Tensor]:
    """Weights [K, C], the bias and the branches, of two values a channel and sample at least."""
    shape = case.shape[-5:] if len(case.shape) > 2 else (2, *(case.shape or (3,)), 3)
    if math.prod(shape[2:]) == 1:
        shape = (*shape[:-1], 3)
    w, *xs = draw(case, shape, dtype, seed)
    spread = torch.linspace(0.5, 2, shape[1], dtype=torch.float64)
    return [(w.double()[:, None] * spread).to(dtype), (spread - 1).to(dtype), *xs]


def _space(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean = x.mean(_space(x), keepdim=True)
    return mean, (x - mean).square().mean(_space(x), keepdim=True)


def _per_channel(row: Tensor, x: Tensor) -> Tensor:
    return row.reshape(1, -1, *(1,) * (x.dim() - 2))


def _formula(w: Tensor, bias: Tensor, *xs: Tensor) -> Tensor:
    # In a half type the variance of a constant channel plus eps would round to zero.
    acc = torch.promote_types(xs[0].dtype, torch.float32)
    total = torch.zeros_like(xs[0], dtype=acc) + _per_channel(bias.to(acc), xs[0])
    for k, (x, on) in enumerate(zip(xs, _flags(len(xs)), strict=True)):
        x = x.to(acc)
        if on:
            mean, var = _moments(x)
            x = (x - mean) / (var + EPS).sqrt()
        total = total + _per_channel(w[k].to(acc), x) * x
    return total.to(xs[0].dtype)


def _sizes(g: Tensor, w: Tensor, bias: Tensor, *xs: Tensor) -> list[Tensor]:
    """The absolute terms of the formula and of its gradients."""
    g, w = g.abs(), w.abs()
    around = [0, *_space(g)]
    value = torch.zeros_like(g) + _per_channel(bias.abs(), g)
    dw, dxs = [], []
    for k, (x, on) in enumerate(zip(xs, _flags(len(xs)), strict=True)):
        size, inner, inverse = x.abs(), g, torch.ones(())
        if on:
            mean, var = _moments(x)
            inverse = (var + EPS).rsqrt()
            size = (x.abs() + mean.abs()) * inverse
            x_hat = ((x - mean) * inverse).abs()
            off = x_hat * (g * x_hat).mean(_space(x), keepdim=True)
            inner = g + g.mean(_space(x), keepdim=True) + off
        value = value + _per_channel(w[k], x) * size
        dw.append((g * size).sum(around))
        dxs.append(_per_channel(w[k], x) * inverse * inner)
    return [value, torch.stack(dw), g.sum(around), *dxs]


def _call(w: Tensor, bias: Tensor, *xs: Tensor) -> Tensor:
    return ops.instance_weighted_sum(xs, w, bias, _flags(len(xs)), eps=EPS)


def _raw(tensors: Sequence[Tensor]) -> list[tuple[Any, tuple[Any, ...]]]:
    w, bias, *xs = tensors
    flags = _flags(len(xs))
    plain = [x.detach() for x in xs]
    if not (plain[0].is_contiguous() or plain[0].movedim(1, -1).is_contiguous()):
        plain = [x.contiguous() for x in plain]
        xs = [x.clone().requires_grad_() for x in plain]
    g, v = torch.ones_like(plain[0]), w.detach()
    acc = torch.promote_types(g.dtype, torch.float32)
    mean = torch.zeros(len(g), sum(flags), g.shape[1], dtype=acc)
    fwd = torch.ops.nas_domains.instance_weighted_sum_fwd.default
    bwd = torch.ops.nas_domains.instance_weighted_sum_bwd.default
    every = list(range(len(xs)))
    return [
        (fwd, (xs, w, bias, flags, EPS)),
        (bwd, (g, plain, v, flags, mean, mean + 1, EPS, every)),
        (bwd, (g, plain, v, flags, mean, mean + 1, EPS, every[::2])),
        (bwd, (g, plain, v, flags, mean, mean + 1, EPS, [])),
    ]


_x = torch.zeros(2, 3, 4)
_b = torch.zeros(3)
_f = ops.instance_weighted_sum

INSTANCE_WEIGHTED_SUM = OpSample(
    name="instance_weighted_sum",
    call=_call,
    formula=_formula,
    inputs=_inputs,
    raw=_raw,
    cases=(
        *(OpCase((n, 7), count=2) for n in (1, 2, 3, 16, 33)),
        *(OpCase((3, n), count=2) for n in (2, 31, 32, 33, 1025)),
        OpCase((2, 3, 0)),
        OpCase((0, 3, 4)),
        OpCase((3, 2, 5, 7), count=5),
        OpCase((3, 5, 60, 70), layouts=("channels_last",)),
        OpCase((2, 24, 5, 3, 2), layouts=("channels_last",), count=5),
        OpCase((2, 3, 5, 7), layouts=LAYOUTS, count=5),
        OpCase((2, 3, 5, 7), layouts=("transposed", "sliced")),
        OpCase((2, 3, 5, 7), layouts=("expanded",)),
    ),
    errors=(
        (lambda: _f([], torch.ones(0, 3), _b), ValueError, "empty list"),
        (lambda: _f([_x[0, 0]], torch.ones(1, 3), _b), ValueError, r"\[B, C, ...\]"),
        (lambda: _f([_x, _x[:1]], torch.ones(2, 3), _b), ValueError, r"xs\[1\] has shape"),
        (lambda: _f([_x.int()], torch.ones(1, 3), _b), TypeError, "torch.int32"),
        (lambda: _f([_x], torch.ones(1, 3).int(), _b), TypeError, "w is torch.int32"),
        (lambda: _f([_x], torch.ones(1), _b), ValueError, r"w has shape \(1,\)"),
        (lambda: _f([_x], torch.ones(1, 3), _b[:2]), ValueError, r"bias has shape \(2,\)"),
        (lambda: _f([_x], torch.ones(1, 3), _b.to("meta")), ValueError, "bias is on meta"),
        (lambda: _f([_x], torch.ones(1, 3), _b, [True] * 2), ValueError, "normed has 2 entries"),
        (lambda: _f([_x[..., :1]], torch.ones(1, 3), _b), ValueError, "more than 1 value"),
    ),
    sizes=_sizes,
)
