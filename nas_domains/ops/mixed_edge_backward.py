"""Gradients of the mixed edge in plain PyTorch, from the tensors that its forward returned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .mixed_edge_reference import (
    BRANCHES,
    NAMES,
    avg_pool,
    halves,
    max_pool,
    unpack,
)

__all__ = ["conv_backward", "reduction_backward", "reference"]

_aten = torch.ops.aten


def reference(
    g: Tensor,
    x: Tensor,
    w: Tensor,
    params: list[Tensor],
    branches: list[int],
    stride: int,
    mean: Tensor,
    var: Tensor,
    training: bool,
    eps: float,
    z: Tensor,
    needs_dx: bool,
    needs_dw: bool,
    needs_params: list[int],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Returns dx, dw and the gradients of the params asked for; see ``mixed_edge``."""
    norm = _Norms(mean, var, training, eps)
    dx, du = torch.zeros_like(x, memory_format=torch.channels_last), torch.zeros_like(x)
    dw, grads = torch.zeros_like(w), [torch.empty_like(p) for p in params]
    row = at = stage = 0
    for k, code in enumerate(branches):
        name = NAMES[code]
        branch = BRANCHES[name]
        own = params[at : at + branch.params]
        if name == "skip":
            dw[k] = (g * x).sum()
            dx += w[k] * g
        elif name in ("max_pool", "avg_pool", "avg_pool_plain"):
            out = max_pool(x, stride) if name == "max_pool" else avg_pool(x, stride)
            dout = w[k] * g
            if branch.norms:
                dw[k] = (g * norm.apply(out, row)).sum()
                dout = norm.backward(dout, out, row)
            else:
                dw[k] = (g * out).sum()
            dx += _pool_backward(name, dout, x, stride)
        elif name != "none":
            maps = [unpack(z[stage + s], g) for s in range(branch.stages)]
            last = row + branch.stages - 1
            dw[k] = (g * norm.apply(maps[-1], last)).sum()
            dout = norm.backward(w[k] * g, maps[-1], last)
            if branch.stages == 2:
                u = norm.apply(maps[0], row).relu()
                dout, grads[at + 2], grads[at + 3] = _separable(dout, u, own[2:], 1, 1)
                dout = norm.backward(dout * (u > 0), maps[0], row)
            u = x.relu()
            if name == "reduce":
                dbranch, grads[at], grads[at + 1] = reduction_backward(dout, u, own)
            elif branch.params == 1:
                dbranch, grads[at] = conv_backward(dout, u, own[0], stride, 1, 1)
            else:
                dbranch, grads[at], grads[at + 1] = _separable(
                    dout, u, own[:2], stride, branch.dilation
                )
            du += dbranch
        row += branch.norms
        stage += branch.stages
        at += branch.params
    dx += du * (x > 0)
    return (
        dx if needs_dx else x.new_empty(0),
        dw if needs_dw else w.new_empty(0),
        [grads[i].contiguous() for i in needs_params],
    )


class _Norms:
    """The batch norms of an edge, by row."""

    def __init__(self, mean: Tensor, var: Tensor, training: bool, eps: float) -> None:
        self.mean, self.inverse = mean[..., None, None], (var + eps).rsqrt()[..., None, None]
        self.training = training

    def apply(self, z: Tensor, row: int) -> Tensor:
        return (z - self.mean[row]) * self.inverse[row]

    def backward(self, g: Tensor, z: Tensor, row: int) -> Tensor:
        if self.training:
            n, dims = self.apply(z, row), (0, 2, 3)
            g = g - g.mean(dims, keepdim=True) - n * (g * n).mean(dims, keepdim=True)
        return g * self.inverse[row]


def conv_backward(
    g: Tensor, u: Tensor, weight: Tensor, stride: int, dilation: int, groups: int
) -> tuple[Tensor, Tensor]:
    """Returns the gradients of a convolution's input and weight."""
    pad = dilation * (weight.shape[-1] // 2)
    du, dweight, _ = _aten.convolution_backward(
        g, u, weight, None, [stride] * 2, [pad] * 2, [dilation] * 2, False, [0, 0], groups,
        [True, True, False],
    )  # fmt: skip
    return du, dweight


def _separable(
    g: Tensor, u: Tensor, params: Sequence[Tensor], stride: int, dilation: int
) -> tuple[Tensor, Tensor, Tensor]:
    depthwise, pointwise = params
    pad = dilation * (depthwise.shape[-1] // 2)
    a = torch.nn.functional.conv2d(u, depthwise, None, stride, pad, dilation, u.shape[1])
    da, dpointwise = conv_backward(g, a, pointwise, 1, 1, 1)
    du, ddepthwise = conv_backward(da, u, depthwise, stride, dilation, u.shape[1])
    return du, ddepthwise, dpointwise


def reduction_backward(
    g: Tensor, u: Tensor, params: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of the factorized reduction's input and of its two weights."""
    even, odd = halves(u)
    half = params[0].shape[0]
    dodd, second = torch.zeros_like(odd), torch.empty_like(params[1])
    deven, first = conv_backward(g[:, :half].contiguous(), even, params[0], 1, 1, 1)
    if params[1].numel():
        dodd, second = conv_backward(g[:, half:].contiguous(), odd, params[1], 1, 1, 1)
    du = torch.zeros_like(u)
    du[..., ::2, ::2] = deven
    height, width = u.shape[-2] // 2, u.shape[-1] // 2
    du[..., 1::2, 1::2] = dodd[..., :height, :width]
    return du, first, second


def _pool_backward(name: str, g: Tensor, x: Tensor, stride: int) -> Tensor:
    if name == "max_pool":
        _, indices = _aten.max_pool2d_with_indices(x, [3, 3], [stride] * 2, [1, 1])
        dx = _aten.max_pool2d_with_indices_backward(
            g, x, [3, 3], [stride] * 2, [1, 1], [1, 1], False, indices
        )
    else:
        dx = _aten.avg_pool2d_backward(g, x, [3, 3], [stride] * 2, [1, 1], False, False, None)
    assert isinstance(dx, Tensor)
    return dx
