r"""Convolutions that keep their size, of kernel sides 1 and 3, by Winograd's minimal filtering.

.. math::
    y_v = \sum_t \max(x_{v + t}, 0 \text{ or } -\infty)\, w_t

over the places t of a kernel of sides 1 and 3, zeros beyond the ends, stride 1, no bias. Along
each side of 3 two outputs take four products instead of six (F(2, 3), Lavin and Gray 2016,
https://arxiv.org/abs/1509.09308), so a 3x3x3 kernel takes 8 for each pair of channels and output
instead of 27; likewise the gradients of input and kernel. Rounding differs from that of a direct
sum by a small factor; where an input is not finite, the outputs that read it are not either.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..kernels.layout import computing_dtype
from .backend import define, resolved

__all__ = ["convolve", "convolve_back", "convolve_weight", "suits"]

# As measured: with fewer channels torch's convolutions are as fast, or faster.
_LEAST_CHANNELS = 16


def suits(weight: Tensor) -> bool:
    """Whether a convolution by this weight is what these functions are made and fast for."""
    channels, kernel = weight.shape[:2], weight.shape[2:]
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.float64)
        and min(channels) >= _LEAST_CHANNELS
        and len(kernel) <= 3
        and max(kernel, default=1) == 3
        and set(kernel) <= {1, 3}
        and resolved("winograd", "cpu") == "native"
    )


def convolve(x: Tensor, weight: Tensor, relu: bool = False) -> Tensor:
    """The convolution of x, or of relu(x), that keeps its size.

    Differentiable in x and weight, any number of times.

    Args:
        x: ``[B, C_in, ...]`` with 1 to 3 sides, of any real floating dtype; half types are
            computed in float32. Fastest with its channels innermost in memory.
        weight: ``[C_out, C_in, ...]`` of the same dtype and device, each side 1 or 3 and one of
            them 3; likewise.
        relu: Whether to take what of x is above zero.

    Returns:
        ``[B, C_out, ...]`` of the dtype of x, its channels innermost in memory.

    Raises:
        TypeError: If x is not of a real floating dtype, or the weight of another.
        ValueError: If shapes or devices do not fit, or the kernel has other sides.
    """
    if not x.dtype.is_floating_point or weight.dtype != x.dtype:
        raise TypeError(
            f"convolve: x is {x.dtype} and weight {weight.dtype}; convert both to one floating "
            "dtype."
        )
    if not 3 <= x.dim() <= 5:
        raise ValueError(
            f"convolve: x has shape {tuple(x.shape)}; give it [B, C, ...] with 1 to 3 sides."
        )
    if weight.dim() != x.dim() or weight.shape[1] != x.shape[1]:
        raise ValueError(
            f"convolve: weight has shape {tuple(weight.shape)}; give it [C_out, {x.shape[1]}, "
            f"...] of {x.dim()} dimensions."
        )
    kernel = weight.shape[2:]
    if not set(kernel) <= {1, 3} or 3 not in kernel:
        raise ValueError(
            f"convolve: the kernel is {'x'.join(map(str, kernel))}; give it sides of 1 and 3, and "
            "one of 3."
        )
    if weight.device != x.device:
        raise ValueError(
            f"convolve: weight is on {weight.device} and x on {x.device}; move them to one device."
        )
    y: Tensor = torch.ops.nas_domains.winograd(x, weight, relu)
    return y


def convolve_back(
    gs: Sequence[Tensor], weights: Sequence[Tensor], x: Tensor | None = None
) -> Tensor:
    """The gradient of an input that several :func:`convolve` share.

    Args:
        gs: The gradients of the outputs, ``[B, C_out, ...]``.
        weights: Of each, ``[C_out, C_in, ...]``.
        x: The input, if they took its relu.

    Returns:
        ``[B, C_in, ...]``, its channels innermost in memory.
    """
    dx: Tensor = torch.ops.nas_domains.winograd_back(gs, weights, x)
    return dx


def convolve_weight(g: Tensor, x: Tensor, kernel: Sequence[int], relu: bool = False) -> Tensor:
    """The gradient of the weight of :func:`convolve`.

    Args:
        g: Gradient of the output, ``[B, C_out, ...]``.
        x: The input, ``[B, C_in, ...]``.
        kernel: The sides of the kernel.
        relu: As in the forward pass.

    Returns:
        ``[C_out, C_in, *kernel]``, the channels of the input innermost in memory.
    """
    dw: Tensor = torch.ops.nas_domains.winograd_weight(g, x, kernel, relu)
    return dw


def _innermost(x: Tensor) -> Tensor:
    """x with its channels innermost in memory."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def _convolution(x: Tensor, weight: Tensor, back: bool) -> Tensor:
    n = weight.dim() - 2
    padding = [k // 2 for k in weight.shape[2:]]
    acc = computing_dtype(x.dtype)
    x, weight = x.to(acc), weight.to(acc)
    return torch.convolution(x, weight, None, [1] * n, padding, [1] * n, back, [0] * n, 1)


def _reference(x: Tensor, weight: Tensor, relu: bool) -> Tensor:
    y = _fake(x, weight, relu)
    if y.numel() > 0:
        y.copy_(_convolution(x.clamp_min(0) if relu else x, weight, False))
    return y


def _back_reference(gs: list[Tensor], weights: list[Tensor], x: Tensor | None) -> Tensor:
    dx = _back_fake(gs, weights, x)
    if dx.numel() > 0:
        each = (_convolution(g, w, True) for g, w in zip(gs, weights, strict=True))
        dx.copy_(_gated(functools.reduce(torch.add, each), x))
    return dx


def _gated(dx: Tensor, x: Tensor | None) -> Tensor:
    """What passes the relu of x, if it is given."""
    return dx if x is None else torch.where(x > 0, dx, 0)


def _weight_reference(g: Tensor, x: Tensor, kernel: list[int], relu: bool) -> Tensor:
    n, acc = len(kernel), computing_dtype(x.dtype)
    if x.numel() == 0:
        return _weight_fake(g, x, kernel, relu).zero_()
    weight = x.new_empty(g.shape[1], x.shape[1], *kernel, dtype=acc)
    found = torch.ops.aten.convolution_backward(
        g.to(acc), (x.clamp_min(0) if relu else x).to(acc), weight, None, [1] * n,
        [k // 2 for k in kernel], [1] * n, False, [0] * n, 1, [False, True, False],
    )  # fmt: skip
    return _innermost(found[1]).to(x.dtype)


def _new(like: Tensor, *sizes: int) -> Tensor:
    return _innermost(like.new_empty(sizes))


def _fake(x: Tensor, weight: Tensor, relu: bool) -> Tensor:
    return _new(x, x.shape[0], weight.shape[0], *x.shape[2:])


def _back_fake(gs: list[Tensor], weights: list[Tensor], x: Tensor | None) -> Tensor:
    return _new(gs[0], gs[0].shape[0], weights[0].shape[1], *gs[0].shape[2:])


def _weight_fake(g: Tensor, x: Tensor, kernel: list[int], relu: bool) -> Tensor:
    return _new(x, g.shape[1], x.shape[1], *kernel)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.relu = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight = ctx.saved_tensors
    needs_x, needs_weight, _ = ctx.needs_input_grad
    ops = torch.ops.nas_domains
    dx = ops.winograd_back([g], [weight], x if ctx.relu else None) if needs_x else None
    kernel = weight.shape[2:]
    dw = ops.winograd_weight(g, x, kernel, ctx.relu) if needs_weight else None
    return dx, dw, None


def _setup_back(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    gs, weights, x = inputs
    ctx.count, ctx.gated = len(gs), x is not None
    ctx.save_for_backward(*gs, *weights, *([x] if ctx.gated else []))


def _backward_back(
    ctx: Any, h: Tensor
) -> tuple[list[Tensor | None], list[Tensor | None], Tensor | None]:
    n = ctx.count
    gs, weights = ctx.saved_tensors[:n], ctx.saved_tensors[n : 2 * n]
    h = _gated(h, ctx.saved_tensors[-1] if ctx.gated else None)
    needs_g, needs_weight, _ = ctx.needs_input_grad
    ops = torch.ops.nas_domains
    dgs = [
        ops.winograd(h, w, False) if need else None
        for w, need in zip(weights, needs_g, strict=True)
    ]
    dws = [
        ops.winograd_weight(g, h, w.shape[2:], False) if need else None
        for g, w, need in zip(gs, weights, needs_weight, strict=True)
    ]
    return dgs, dws, None


def _setup_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    g, x, _, ctx.relu = inputs
    ctx.save_for_backward(g, x)


def _backward_weight(ctx: Any, h: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
    g, x = ctx.saved_tensors
    needs_g, needs_x = ctx.needs_input_grad[:2]
    ops = torch.ops.nas_domains
    dg = ops.winograd(x, h, ctx.relu) if needs_g else None
    dx = ops.winograd_back([g], [h], x if ctx.relu else None) if needs_x else None
    return dg, dx, None, None


define("winograd", "(Tensor x, Tensor weight, bool relu) -> Tensor", _reference, _fake)
define(
    "winograd_back",
    "(Tensor[] gs, Tensor[] weights, Tensor? x) -> Tensor",
    _back_reference,
    _back_fake,
)
define(
    "winograd_weight",
    "(Tensor g, Tensor x, int[] kernel, bool relu) -> Tensor",
    _weight_reference,
    _weight_fake,
)
for _name, _rule, _context in (
    ("winograd", _backward, _setup),
    ("winograd_back", _backward_back, _setup_back),
    ("winograd_weight", _backward_weight, _setup_weight),
):
    torch.library.register_autograd(f"nas_domains::{_name}", _rule, setup_context=_context)
