"""Convolutions of the supernet of DiNTS, which keep their size, laid out channels-last.

On a CPU those of enough channels go through ``ops.winograd``, others through torch's.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ...ops import winograd

__all__ = ["channels_last", "entry", "grad_input", "grad_weight", "run"]


def channels_last(x: Tensor) -> Tensor:
    """The tensor [B, C, ...] with its channels innermost; itself where they are."""
    form = torch.channels_last_3d if x.dim() == 5 else torch.channels_last
    return x.contiguous(memory_format=form)


def entry(x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, bool]:
    """What several :func:`run` take for relu(x), and whether the relu is left to them."""
    left = all(map(winograd.suits, weights))
    return (x if left else x.clamp_min(0)), left


def run(x: Tensor, weight: Tensor, relu: bool = False) -> Tensor:
    """The convolution without bias of x [B, C, ...], or of relu(x); odd kernels."""
    if winograd.suits(weight):
        return winograd.convolve(x, weight, relu)
    return _convolution(x.clamp_min(0) if relu else x, weight, False)


def grad_input(gs: Sequence[Tensor], weights: Sequence[Tensor], x: Tensor | None = None) -> Tensor:
    """The gradient of the input that several :func:`run` share, from those of their outputs.

    Args:
        gs: The gradients [B, c_out, ...].
        weights: Of each.
        x: The input, if they took its relu.
    """
    if all(map(winograd.suits, weights)):
        return winograd.convolve_back(gs, weights, x)
    each = (_convolution(g, w, True) for g, w in zip(gs, weights, strict=True))
    d = functools.reduce(Tensor.add_, each)
    return d if x is None else torch.ops.aten.threshold_backward(d, x, 0)


def grad_weight(g: Tensor, x: Tensor, weight: Tensor, relu: bool = False) -> Tensor:
    """The gradient of the weight [c_out, c_in, ...], of which the values are not read."""
    if winograd.suits(weight):
        return winograd.convolve_weight(g, x, weight.shape[2:], relu)
    n = weight.dim() - 2
    found: Tensor = torch.ops.aten.convolution_backward(
        g, x.clamp_min(0) if relu else x, channels_last(weight), None, (1,) * n, _padding(weight),
        (1,) * n, False, (0,) * n, 1, (False, True, False),
    )[1]  # fmt: skip
    return found


def _convolution(x: Tensor, weight: Tensor, transposed: bool) -> Tensor:
    """As it is, or transposed, which of the same kernel gives the gradient of the input."""
    n, w = weight.dim() - 2, channels_last(weight)
    y = torch.convolution(x, w, None, (1,) * n, _padding(w), (1,) * n, transposed, (0,) * n, 1)
    return channels_last(y)


def _padding(weight: Tensor) -> list[int]:
    return [k // 2 for k in weight.shape[2:]]
