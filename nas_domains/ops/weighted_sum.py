r"""Weighted sum of the candidates of an edge.

.. math::
    out = \sum_k w_k x_k, \qquad dx_k = w_k g, \qquad dw_k = \langle g, x_k \rangle

with ``g`` the gradient of ``out``. Half types are summed in float32. The result has the dtype of
the ``x_k`` and the memory layout of ``torch.empty_like(x_0)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..kernels.layout import computing_dtype, matched
from .backend import define

__all__ = ["weighted_sum"]


def weighted_sum(xs: Sequence[Tensor], w: Tensor) -> Tensor:
    """Returns ``sum_k w[k] * xs[k]`` in one pass over memory.

    Differentiable in ``xs`` and ``w``, any number of times. Tensors of several dtypes (candidates
    under autocast) are promoted to the widest of them, as ``torch.stack`` does; autocast changes
    nothing else.

    Args:
        xs: K >= 1 tensors of one shape and device, of any real floating dtype and any strides.
        w: Weights ``[K]`` of any real floating dtype, on the same device.

    Returns:
        A tensor of the shape and (widest) dtype of ``xs``, laid out like
        ``torch.empty_like(xs[0])``.

    Raises:
        TypeError: If a tensor is not of a real floating dtype.
        ValueError: If ``xs`` is empty, or shapes, devices or the number of weights do not fit.
    """
    if len(xs) == 0:
        raise ValueError("weighted_sum got an empty list; give it at least one tensor.")
    first = xs[0]
    dtype = first.dtype
    for k, x in enumerate(xs):
        if not x.dtype.is_floating_point:
            raise TypeError(f"weighted_sum: xs[{k}] is {x.dtype}; convert it to a floating dtype.")
        if x.shape != first.shape:
            raise ValueError(
                f"weighted_sum: xs[{k}] has shape {tuple(x.shape)} and xs[0] "
                f"{tuple(first.shape)}; give it tensors of one shape."
            )
        if x.device != first.device:
            raise ValueError(
                f"weighted_sum: xs[{k}] is on {x.device} and xs[0] on {first.device}; "
                "move them to one device."
            )
        dtype = torch.promote_types(dtype, x.dtype)
    if not w.dtype.is_floating_point:
        raise TypeError(f"weighted_sum: w is {w.dtype}; convert it to a floating dtype.")
    if w.dim() != 1 or w.shape[0] != len(xs):
        raise ValueError(
            f"weighted_sum: w has shape {tuple(w.shape)}; give it one weight for each of the "
            f"{len(xs)} tensors."
        )
    if w.device != first.device:
        raise ValueError(
            f"weighted_sum: w is on {w.device} and xs on {first.device}; move them to one device."
        )
    out: Tensor = torch.ops.nas_domains.weighted_sum_fwd([x.to(dtype) for x in xs], w)
    return out


def _fwd_reference(xs: list[Tensor], w: Tensor) -> Tensor:
    acc = computing_dtype(xs[0].dtype)
    w = w.to(acc)
    out = w[0] * xs[0].to(acc)
    for k in range(1, len(xs)):
        out = out + w[k] * xs[k].to(acc)
    # The copy also gives the layout promised, whatever layout the sum came out in.
    return torch.empty_like(xs[0]).copy_(out)


def _bwd_reference(
    g: Tensor, xs: list[Tensor], w: Tensor, needs_dx: list[int]
) -> tuple[list[Tensor], Tensor]:
    acc = computing_dtype(g.dtype)
    like = torch.empty_like(xs[0] if xs else g)
    g = matched(g, like, acc)
    dxs = [torch.empty_like(like).copy_(w[k].to(acc) * g) for k in needs_dx]
    dw = [(g * x.to(acc)).sum() for x in xs]
    return dxs, torch.stack(dw).to(w.dtype) if dw else w.new_empty(0)


def _fwd_fake(xs: list[Tensor], w: Tensor) -> Tensor:
    return torch.empty_like(xs[0])


def _bwd_fake(
    g: Tensor, xs: list[Tensor], w: Tensor, needs_dx: list[int]
) -> tuple[list[Tensor], Tensor]:
    like = xs[0] if xs else g
    return [torch.empty_like(like) for _ in needs_dx], w.new_empty(len(xs))


def _setup_context(ctx: Any, inputs: tuple[list[Tensor], Tensor], output: Tensor) -> None:
    xs, w = inputs
    # dx needs no x, so without a gradient for w none is kept alive.
    ctx.save_for_backward(w, *(xs if w.requires_grad else []))


def _backward(ctx: Any, g: Tensor) -> tuple[list[Tensor | None], Tensor | None]:
    w, *xs = ctx.saved_tensors
    needs_x, needs_w = ctx.needs_input_grad
    needs_dx = [k for k, needed in enumerate(needs_x) if needed]
    if torch.is_grad_enabled():  # the gradient itself will be differentiated
        acc = computing_dtype(g.dtype)
        dxs = [(w[k].to(acc) * g.to(acc)).to(g.dtype) for k in needs_dx]
        dw = torch.stack([(g.to(acc) * x.to(acc)).sum() for x in xs]).to(w.dtype) if xs else w
    else:
        dxs, dw = torch.ops.nas_domains.weighted_sum_bwd(g, xs, w, needs_dx)
    found = dict(zip(needs_dx, dxs, strict=True))
    return [found.get(k) for k in range(len(needs_x))], dw if needs_w else None


define(
    "weighted_sum_fwd",
    "(Tensor[] xs, Tensor w) -> Tensor",
    _fwd_reference,
    _fwd_fake,
    triton="nas_domains.kernels.weighted_sum:weighted_sum_fwd",
)
# xs is empty where dw is not wanted; needs_dx lists the k whose dx_k is.
define(
    "weighted_sum_bwd",
    "(Tensor g, Tensor[] xs, Tensor w, int[] needs_dx) -> (Tensor[], Tensor)",
    _bwd_reference,
    _bwd_fake,
    triton="nas_domains.kernels.weighted_sum:weighted_sum_bwd",
)
torch.library.register_autograd(
    "nas_domains::weighted_sum_fwd", _backward, setup_context=_setup_context
)
