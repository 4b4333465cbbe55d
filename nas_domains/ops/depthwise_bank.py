r"""The depthwise convolutions and pools of an edge, which read one map; private to ``mixed_edge``.

With ``u = relu(x)``, or ``relu(s_c x + t_c)`` behind a batch norm whose scale ``s`` and bias ``t``
are given, the maps of an edge are

.. math::
    d_i = W_i * u, \qquad p_0 = \max_{3 \times 3} x, \qquad p_1 = \mathrm{mean}_{3 \times 3}\, x

with depthwise convolutions of kernel k, dilation r and padding ``r (k // 2)``, and pools of
padding 1 whose windows are clipped to the image; all of one stride. With ``da_i`` the gradient
of ``d_i``, ``g`` that of the edge and, behind the batch norms of the pools and for the skip
connection,

.. math::
    dp_j = a_{j0} g + a_{j1} p_j + a_{j2} \quad (j = 0, 1), \qquad dx_{skip} = a_{20} g,

the gradient of the ReLU's input is

.. math::
    dx = [u > 0] \sum_i W_i^T * da_i + \max^T dp_0 + \mathrm{mean}^T dp_1 + dx_{skip}

(the skip connection at stride 1 only; a maximum's gradient goes to the first element in scan
order that equals it). The batch norm before the ReLU needs the sums of ``dx`` and of ``dx u``.
Half types are computed in float32. Maps are channels-last, and sums are added in a fixed order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels.layout import computing_dtype
from .backend import define

__all__: list[str] = []

_POOL = ([3, 3], [1, 1])  # kernel, padding: with the stride between them, as aten takes them


def _last(x: Tensor) -> Tensor:
    """[B, C, H, W] as [B, H, W, C]."""
    return x.permute(0, 2, 3, 1)


def _input(x: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    """Returns u in the computing dtype."""
    x = x.to(computing_dtype(x.dtype))
    if scale is not None and bias is not None:
        x = scale.view(-1, 1, 1) * x + bias.view(-1, 1, 1)
    return x.relu()


def _padding(weight: Tensor, dilation: int) -> int:
    return dilation * (weight.shape[-1] // 2)


def _sides(x: Tensor, stride: int) -> tuple[int, int]:
    return -(-x.shape[2] // stride), -(-x.shape[3] // stride)


def _fwd_reference(
    x: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    weights: list[Tensor],
    dilations: list[int],
    stride: int,
    pools: bool,
) -> tuple[Tensor, Tensor]:
    d, p = _fwd_fake(x, scale, bias, weights, dilations, stride, pools)
    u = _input(x, scale, bias)
    for out, weight, dilation in zip(d, weights, dilations, strict=True):
        padding = _padding(weight, dilation)
        made = F.conv2d(u, weight.to(u.dtype), None, stride, padding, dilation, x.shape[1])
        out.copy_(_last(made))
    if pools:
        real = x.to(u.dtype)
        p[0].copy_(_last(F.max_pool2d(real, 3, stride, 1)))
        p[1].copy_(_last(F.avg_pool2d(real, 3, stride, 1, count_include_pad=False)))
    return d, p


def _pools_back(x: Tensor, g: Tensor, coefficients: Tensor, stride: int) -> Tensor:
    """Returns what flows back to x through both pools and the skip connection."""
    kernel, padding = _POOL
    steps, ones = [stride, stride], [1, 1]
    a = coefficients[..., None, None]
    aten = torch.ops.aten
    largest, places = aten.max_pool2d_with_indices(x, kernel, steps, padding, ones, False)
    mean = aten.avg_pool2d(x, kernel, steps, padding, False, False)
    dx: Tensor = aten.max_pool2d_with_indices_backward(
        a[0, 0] * g + a[0, 1] * largest + a[0, 2], x, kernel, steps, padding, ones, False, places
    )
    dx = dx + aten.avg_pool2d_backward(
        a[1, 0] * g + a[1, 1] * mean + a[1, 2], x, kernel, steps, padding, False, False, None
    )
    return dx + a[2, 0] * g if stride == 1 else dx


def _bwd_reference(
    da: Tensor,
    x: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    weights: list[Tensor],
    dilations: list[int],
    stride: int,
    g: Tensor | None,
    coefficients: Tensor | None,
    needs_dx: bool,
    needs_dweights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    dx, dweights, sums = _bwd_fake(
        da, x, scale, bias, weights, dilations, stride, g, coefficients, needs_dx, needs_dweights
    )
    u = _input(x, scale, bias)
    total, grads = torch.zeros_like(u), []
    for i, (weight, dilation) in enumerate(zip(weights, dilations, strict=True)):
        padding = [_padding(weight, dilation)] * 2
        du, dw, _ = torch.ops.aten.convolution_backward(
            da[i].to(u.dtype).permute(0, 3, 1, 2), u, weight.to(u.dtype), None, [stride] * 2,
            padding, [dilation] * 2, False, [0, 0], x.shape[1], [needs_dx, needs_dweights, False],
        )  # fmt: skip
        if needs_dx:
            total = total + du
        if needs_dweights:
            grads.append(dw.flatten(1).t())
    if grads:
        dweights.copy_(torch.cat(grads))
    if needs_dx:
        total = total.masked_fill(u <= 0, 0)
        if g is not None and coefficients is not None:
            total = total + _pools_back(x.to(u.dtype), g.to(u.dtype), coefficients, stride)
        dx.copy_(total)
        if scale is not None:
            sums.copy_(torch.stack([total.sum((0, 2, 3)), (total * u).sum((0, 2, 3))]))
    return dx, dweights, sums


def _fwd_fake(
    x: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    weights: list[Tensor],
    dilations: list[int],
    stride: int,
    pools: bool,
) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], *_sides(x, stride), x.shape[1])
    return x.new_empty((len(weights), *shape)), x.new_empty((2 if pools else 0, *shape))


def _bwd_fake(
    da: Tensor,
    x: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    weights: list[Tensor],
    dilations: list[int],
    stride: int,
    g: Tensor | None,
    coefficients: Tensor | None,
    needs_dx: bool,
    needs_dweights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    acc, channels = computing_dtype(x.dtype), x.shape[1]
    taps = sum(weight.shape[-1] ** 2 for weight in weights) if needs_dweights else 0
    dx = x.new_empty(0)
    if needs_dx:
        dx = torch.empty(
            x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
        )
    return (
        dx,
        x.new_empty((taps, channels), dtype=acc),
        x.new_empty((2 if needs_dx and scale is not None else 0, channels), dtype=acc),
    )


# x [B, C, H, W] in channels-last memory; scale and bias [C] in the computing dtype; weights[i]
# [C, 1, k, k] with k 3 or 5, dilations 1 or 2, stride 1 or 2. Returns d [n, B, Ho, Wo, C] and
# p [2, B, Ho, Wo, C], the maximum and the mean, or p [0, B, Ho, Wo, C] without pools.
define(
    "depthwise_bank_fwd",
    "(Tensor x, Tensor? scale, Tensor? bias, Tensor[] weights, int[] dilations, int stride, "
    "bool pools) -> (Tensor, Tensor)",
    _fwd_reference,
    _fwd_fake,
)
# da [n, B, Ho, Wo, C]; g [B, C, Ho, Wo] in channels-last memory and coefficients a [3, 3, C] in
# the computing dtype where pools and skip connection take part. Returns dx [B, C, H, W] in
# channels-last memory, or [0]; dweights [taps of all weights, C] in the computing dtype, or
# [0, C]; and, with a scale and where dx is wanted, the sums [2, C] of dx and dx u, else [0, C].
define(
    "depthwise_bank_bwd",
    "(Tensor da, Tensor x, Tensor? scale, Tensor? bias, Tensor[] weights, int[] dilations, "
    "int stride, Tensor? g, Tensor? coefficients, bool needs_dx, bool needs_dweights) "
    "-> (Tensor, Tensor, Tensor)",
    _bwd_reference,
    _bwd_fake,
)
