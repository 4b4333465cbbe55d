r"""Weighted sum of instance-normalised candidates.

.. math::
    out = \beta + \sum_k w_k \hat x_k, \qquad
    \hat x_k = \frac{x_k - \mu_k}{\sqrt{\sigma_k^2 + \epsilon}}

with mean and biased variance of each sample and channel; a candidate that is not normed enters as
it is. Of one sample it is :func:`~nas_domains.ops.norm_weighted_sum.norm_weighted_sum`, whose
gradients are also these; the CPU kernels take all samples in one call, and the bias in the same
pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..kernels.layout import computing_dtype
from .backend import define
from .norm_weighted_sum import check_branches, norm_weighted_sum

__all__ = ["instance_weighted_sum"]


def instance_weighted_sum(
    xs: Sequence[Tensor],
    w: Tensor,
    bias: Tensor,
    normed: Sequence[bool] | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Returns ``bias + sum_k w[k] * instance_norm(xs[k])``.

    Differentiable in ``xs``, ``w`` and ``bias``, any number of times. Tensors of several dtypes
    are promoted to the widest of them.

    Args:
        xs: K >= 1 tensors [B, C, ...] of one shape and device, of any real floating dtype and any
            strides; dense ones of one layout, sample after sample, are read where they lie.
        w: Weights [K, C] of any real floating dtype, on the same device.
        bias: [C], likewise.
        normed: For each branch, whether it is normed or only weighted; by default all are.
        eps: Added to the variance.

    Returns:
        The sum, of the shape and (widest) dtype of ``xs``.

    Raises:
        TypeError: If a tensor is not of a real floating dtype.
        ValueError: If ``xs`` is empty, shapes, devices or numbers do not fit, or a channel of a
            sample has a single value to measure.
    """
    name = "instance_weighted_sum"
    if len(xs) == 0:
        raise ValueError(f"{name} got an empty list; give it at least one tensor.")
    first = xs[0]
    flags = [True] * len(xs) if normed is None else [bool(flag) for flag in normed]
    if len(flags) != len(xs):
        raise ValueError(
            f"{name}: normed has {len(flags)} entries; give it one for each of the {len(xs)} "
            "tensors."
        )
    dtype = check_branches(name, xs)
    for what, given, shape in (
        ("w", w, (len(xs), first.shape[1])),
        ("bias", bias, (first.shape[1],)),
    ):
        if not given.dtype.is_floating_point:
            raise TypeError(f"{name}: {what} is {given.dtype}; convert it to a floating dtype.")
        if tuple(given.shape) != shape:
            raise ValueError(f"{name}: {what} has shape {tuple(given.shape)}; give it {shape}.")
        if given.device != first.device:
            raise ValueError(
                f"{name}: {what} is on {given.device} and xs on {first.device}; move them to one "
                "device."
            )
    if any(flags) and first.numel() > 0 and first.shape[2:].numel() < 2:
        raise ValueError(
            f"Expected more than 1 value per channel of a sample, got shape {tuple(first.shape)}; "
            "use larger maps."
        )
    xs = [x.to(dtype) for x in xs]
    # Where samples are entangled in memory, none could be taken apart.
    if not _in_order(xs[0]):
        xs[0] = xs[0].contiguous()
    out: Tensor = torch.ops.nas_domains.instance_weighted_sum_fwd(xs, w, bias, flags, eps)[0]
    return out


def _in_order(x: Tensor) -> bool:
    """Whether what is laid out like x has its samples one after the other."""
    return x.is_contiguous() or x.movedim(1, -1).is_contiguous()


def _each(
    xs: Sequence[Tensor], w: Tensor, normed: list[bool], eps: float
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Each sample by the op of a batch; without a bias."""
    parts = zip(*(torch.split(x, 1) for x in xs), strict=True)
    return [norm_weighted_sum(part, w, normed, eps=eps) for part in parts]


def _shaped(bias: Tensor, like: Tensor) -> Tensor:
    return bias.to(computing_dtype(like.dtype)).reshape(1, -1, *(1,) * (like.dim() - 2))


def _fwd_reference(
    xs: list[Tensor], w: Tensor, bias: Tensor, normed: list[bool], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.empty_like(xs[0])
    _, mean, var = _fwd_fake(xs, w, bias, normed, eps)
    if y.numel() == 0:
        return y, mean, var
    acc = computing_dtype(y.dtype)
    found = _each([x.to(acc) for x in xs], w.to(acc), normed, eps)
    y.copy_(torch.cat([one[0] for one in found]) + _shaped(bias, y))
    return y, torch.stack([one[1] for one in found]), torch.stack([one[2] for one in found])


def _bwd_reference(
    g: Tensor,
    xs: list[Tensor],
    w: Tensor,
    normed: list[bool],
    mean: Tensor,
    var: Tensor,
    eps: float,
    needs_dx: list[int],
) -> tuple[list[Tensor], Tensor, Tensor]:
    acc = computing_dtype(g.dtype)
    dxs = [torch.empty_like(xs[0], dtype=g.dtype) for _ in needs_dx]
    dw = w.new_zeros(w.shape, dtype=acc)
    g, xs = g.to(acc), [x.to(acc) for x in xs]
    for b in range(len(g) if g.numel() else 0):
        found, own = torch.ops.nas_domains.norm_weighted_sum_bwd(
            g[b : b + 1], [x[b : b + 1] for x in xs], w.to(acc), normed, mean[b].to(acc),
            var[b].to(acc), eps, True, needs_dx, True,
        )  # fmt: skip
        dw += own
        for dx, one in zip(dxs, found, strict=True):
            dx[b : b + 1] = one
    dbias = g.sum([d for d in range(g.dim()) if d != 1])
    return dxs, dw.to(w.dtype), dbias


def _fwd_fake(
    xs: list[Tensor], w: Tensor, bias: Tensor, normed: list[bool], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (xs[0].shape[0], sum(normed), xs[0].shape[1])
    acc = computing_dtype(xs[0].dtype)
    mean, var = (xs[0].new_empty(shape, dtype=acc) for _ in range(2))
    return torch.empty_like(xs[0]), mean, var


def _bwd_fake(
    g: Tensor,
    xs: list[Tensor],
    w: Tensor,
    normed: list[bool],
    mean: Tensor,
    var: Tensor,
    eps: float,
    needs_dx: list[int],
) -> tuple[list[Tensor], Tensor, Tensor]:
    return (
        [torch.empty_like(xs[0]) for _ in needs_dx],
        w.new_empty(w.shape),
        w.new_empty(w.shape[1:], dtype=computing_dtype(g.dtype)),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    xs, w, bias, normed, eps = inputs
    _, mean, var = output
    ctx.mark_non_differentiable(mean, var)
    ctx.normed, ctx.eps = normed, eps
    ctx.save_for_backward(w, bias, mean, var, *xs)


def _backward(ctx: Any, g: Tensor, _mean: Tensor, _var: Tensor) -> tuple[Any, ...]:
    w, bias, mean, var, *xs = ctx.saved_tensors
    needs_x, needs_w, needs_bias = ctx.needs_input_grad[:3]
    needs_dx = [k for k, needed in enumerate(needs_x) if needed]
    if torch.is_grad_enabled():  # the gradient itself will be differentiated
        dxs, dw, dbias = _differentiable(ctx, g, xs, w, bias, needs_dx)
    else:
        dxs, dw, dbias = torch.ops.nas_domains.instance_weighted_sum_bwd(
            g, xs, w, ctx.normed, mean, var, ctx.eps, needs_dx
        )
        dbias = dbias.to(bias.dtype)
    of = dict(zip(needs_dx, dxs, strict=True))
    dx = [of.get(k) for k in range(len(xs))]
    return dx, dw if needs_w else None, dbias if needs_bias else None, None, None


def _differentiable(
    ctx: Any, g: Tensor, xs: list[Tensor], w: Tensor, bias: Tensor, needs_dx: list[int]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The gradients by operations that can be differentiated: those of each sample's own sum."""
    # Views, as paths from one input through another are not those of this sum.
    xs, w = [x.view_as(x) for x in xs], w.view_as(w)
    acc = computing_dtype(g.dtype)
    dbias = g.to(acc).sum([d for d in range(g.dim()) if d != 1]).to(bias.dtype)
    if g.numel() == 0:
        return [torch.zeros_like(xs[k]) for k in needs_dx], torch.zeros_like(w), dbias
    asked = [*(xs[k] for k in needs_dx), *([w] if w.requires_grad else [])]
    y = torch.cat([one[0] for one in _each(xs, w, ctx.normed, ctx.eps)])
    found = torch.autograd.grad(y, asked, g, create_graph=True) if asked else ()
    dxs = list(found[: len(needs_dx)])
    return dxs, found[-1] if w.requires_grad else w, dbias


define(
    "instance_weighted_sum_fwd",
    "(Tensor[] xs, Tensor w, Tensor bias, bool[] normed, float eps) -> (Tensor, Tensor, Tensor)",
    _fwd_reference,
    _fwd_fake,
)
define(
    "instance_weighted_sum_bwd",
    "(Tensor g, Tensor[] xs, Tensor w, bool[] normed, Tensor mean, Tensor var, float eps, "
    "int[] needs_dx) -> (Tensor[], Tensor, Tensor)",
    _bwd_reference,
    _bwd_fake,
)
torch.library.register_autograd(
    "nas_domains::instance_weighted_sum_fwd", _backward, setup_context=_setup_context
)
