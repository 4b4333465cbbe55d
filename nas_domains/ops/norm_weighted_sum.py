r"""Batch norm without affine parameters of the candidates of an edge, weighted and summed.

.. math::
    y = \sum_k w_k \hat x_k, \qquad \hat x_k = \frac{x_k - m_k}{\sqrt{v_k + \epsilon}}

with the mean ``m_k`` and the biased variance ``v_k`` of each channel over batch and space (Ioffe &
Szegedy 2015), or running ones that are given; a branch that is not normed has
``\hat x_k = x_k``. With ``g`` the gradient of ``y``, ``r_k = (v_k + \epsilon)^{-1/2}`` and means
over the n values of a channel,

.. math::
    dx_k = w_k r_k (g - \overline{g} - \hat x_k \overline{g \hat x_k}), \qquad
    dw_k = \langle g, \hat x_k \rangle

where the two means are left out for statistics that are given, and ``dx_k = w_k g`` for a branch
that is not normed. A weight may be one for each channel, as the scale of an affine norm makes it;
``dw_k`` is then summed over each channel alone. Half types are computed in float32, so autocast
has nothing to change. The result has the dtype of the ``x_k`` and the memory layout of
``torch.empty_like(x_0)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..kernels.layout import computing_dtype, matched
from .backend import define

__all__ = ["norm_weighted_sum"]


def norm_weighted_sum(
    xs: Sequence[Tensor],
    w: Tensor,
    normed: Sequence[bool] | None = None,
    mean: Tensor | None = None,
    var: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns ``sum_k w[k] * batch_norm(xs[k])`` and the statistics that it used.

    One pass over memory measures all branches and one applies and adds them. Differentiable in
    ``xs`` and ``w``, any number of times; the statistics are not. Nothing is mutated: running
    statistics are the caller's (:func:`nas_domains.nn.normed.update_running`). Tensors of several
    dtypes are promoted to the widest of them.

    Args:
        xs: K >= 1 tensors [B, C, ...] of one shape and device, of any real floating dtype and any
            strides; dense ones of one layout are read where they lie.
        w: Weights [K], or [K, C] with one for each channel, of any real floating dtype, on the
            same device.
        normed: For each branch, whether it is normed (N of them are) or only weighted; by default
            all are.
        mean: Means [N, C] to subtract, as in evaluation; by default those of the batch.
        var: Variances [N, C] that go with ``mean``.
        eps: Added to the variance.

    Returns:
        The sum, of the shape and (widest) dtype of ``xs``, laid out like
        ``torch.empty_like(xs[0])``; and the mean and the biased variance [N, C] of the normed
        branches, in order, in float32 (float64 if ``xs`` are).

    Raises:
        TypeError: If a tensor is not of a real floating dtype.
        ValueError: If ``xs`` is empty, shapes, devices or numbers do not fit, only one of ``mean``
            and ``var`` is given or one requires a gradient, or a channel has a single value to
            measure.
    """
    if len(xs) == 0:
        raise ValueError("norm_weighted_sum got an empty list; give it at least one tensor.")
    first = xs[0]
    flags = [True] * len(xs) if normed is None else [bool(flag) for flag in normed]
    if len(flags) != len(xs):
        raise ValueError(
            f"norm_weighted_sum: normed has {len(flags)} entries; give it one for each of the "
            f"{len(xs)} tensors."
        )
    dtype = check_branches("norm_weighted_sum", xs)
    _check_weights(w, len(xs), first)
    if (mean is None) != (var is None):
        raise ValueError("norm_weighted_sum got one of mean and var; give it both or neither.")
    if mean is not None and var is not None:
        shape = (sum(flags), first.shape[1])
        _check_statistics("mean", mean, shape, first)
        _check_statistics("var", var, shape, first)
    elif any(flags) and first.shape[1] > 0 and first.numel() <= first.shape[1]:
        raise ValueError(
            f"Expected more than 1 value per channel to norm a batch, got shape "
            f"{tuple(first.shape)}; use a larger batch, or give mean and var."
        )
    out: tuple[Tensor, Tensor, Tensor] = torch.ops.nas_domains.norm_weighted_sum_fwd(
        [x.to(dtype) for x in xs], w, flags, mean, var, eps
    )
    return out


def check_branches(name: str, xs: Sequence[Tensor]) -> torch.dtype:
    """Returns the widest dtype of the tensors [B, C, ...] of an op of this name."""
    first = xs[0]
    dtype = first.dtype
    if first.dim() < 2:
        raise ValueError(
            f"{name}: xs[0] has shape {tuple(first.shape)}; give it tensors "
            "[B, C, ...]."
        )
    for k, x in enumerate(xs):
        if not x.dtype.is_floating_point:
            raise TypeError(
                f"{name}: xs[{k}] is {x.dtype}; convert it to a floating dtype."
            )
        if x.shape != first.shape:
            raise ValueError(
                f"{name}: xs[{k}] has shape {tuple(x.shape)} and xs[0] "
                f"{tuple(first.shape)}; give it tensors of one shape."
            )
        if x.device != first.device:
            raise ValueError(
                f"{name}: xs[{k}] is on {x.device} and xs[0] on {first.device}; "
                "move them to one device."
            )
        dtype = torch.promote_types(dtype, x.dtype)
    return dtype


def _check_weights(w: Tensor, count: int, first: Tensor) -> None:
    if not w.dtype.is_floating_point:
        raise TypeError(f"norm_weighted_sum: w is {w.dtype}; convert it to a floating dtype.")
    if tuple(w.shape) not in ((count,), (count, first.shape[1])):
        raise ValueError(
            f"norm_weighted_sum: w has shape {tuple(w.shape)}; give it one weight for each of the "
            f"{count} tensors, or for each of their {first.shape[1]} channels too."
        )
    if w.device != first.device:
        raise ValueError(
            f"norm_weighted_sum: w is on {w.device} and xs on {first.device}; move them to one "
            "device."
        )


def _check_statistics(name: str, x: Tensor, shape: tuple[int, int], first: Tensor) -> None:
    if not x.dtype.is_floating_point:
        raise TypeError(f"norm_weighted_sum: {name} is {x.dtype}; convert it to a floating dtype.")
    if tuple(x.shape) != shape:
        raise ValueError(
            f"norm_weighted_sum: {name} has shape {tuple(x.shape)}; give it {shape}, a row for "
            "each normed tensor."
        )
    if x.device != first.device:
        raise ValueError(
            f"norm_weighted_sum: {name} is on {x.device} and xs on {first.device}; move them to "
            "one device."
        )
    if x.requires_grad:
        raise ValueError(f"norm_weighted_sum: {name} gets no gradient; detach it.")


def _per_channel(x: Tensor, dims: int) -> Tensor:
    """[C] as [1, C, 1, ...] of so many dims."""
    return x.reshape(1, -1, *(1,) * (dims - 2))


def _factor(w: Tensor, k: int, dims: int) -> Tensor:
    """Weight k as what a tensor of so many dims is multiplied with."""
    return _per_channel(w[k], dims) if w.dim() == 2 else w[k]


def _weight_gradient(product: Tensor, w: Tensor) -> Tensor:
    """Sums a tensor [B, C, ...] to what one weight gets: a scalar, or [C]."""
    return product.sum(_space(product)) if w.dim() == 2 else product.sum()


def _space(x: Tensor) -> list[int]:
    return [d for d in range(x.dim()) if d != 1]


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [C]; the second about the first, whatever its size."""
    mean = x.mean(_space(x))
    return mean, (x - _per_channel(mean, x.dim())).square().mean(_space(x))


def _normed(x: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Returns the normed x and 1 / std as [1, C, 1, ...]."""
    inverse = _per_channel((var + eps).rsqrt(), x.dim())
    return (x - _per_channel(mean, x.dim())) * inverse, inverse


def _rows(normed: Sequence[bool]) -> list[int]:
    """Row of each branch in the statistics; of no meaning for one that is not normed."""
    return [sum(normed[:k]) for k in range(len(normed))]


def _fwd_reference(
    xs: list[Tensor],
    w: Tensor,
    normed: list[bool],
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    acc = computing_dtype(xs[0].dtype)
    shape = (sum(normed), xs[0].shape[1])
    if mean is None or var is None:
        pairs = [_moments(x.to(acc)) for x, on in zip(xs, normed, strict=True) if on]
        means = [pair[0] for pair in pairs]
        variances = [pair[1] for pair in pairs]
        mean = torch.stack(means) if pairs else xs[0].new_empty(shape, dtype=acc)
        var = torch.stack(variances) if pairs else xs[0].new_empty(shape, dtype=acc)
    else:
        # Copies, as no op of ours returns its input.
        mean, var = (mean.to(acc, copy=True).contiguous(), var.to(acc, copy=True).contiguous())
    w = w.to(acc)
    out = torch.zeros_like(xs[0], dtype=acc)
    for k, (x, on, row) in enumerate(zip(xs, normed, _rows(normed), strict=True)):
        x = x.to(acc)
        out = out + _factor(w, k, x.dim()) * (_normed(x, mean[row], var[row], eps)[0] if on else x)
    return torch.empty_like(xs[0]).copy_(out), mean, var


def _gradients(
    g: Tensor,
    xs: list[Tensor],
    w: Tensor,
    normed: list[bool],
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    training: bool,
    needs_dx: list[int],
    needs_dw: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """The formulas above, in operations that can be differentiated.

    Without ``mean`` and ``var`` these are functions of ``xs``, as second derivatives need them.
    """
    dxs, dw = [], []
    for k, (x, on, row) in enumerate(zip(xs, normed, _rows(normed), strict=True)):
        if not on:
            if needs_dw:
                dw.append(_weight_gradient(g * x, w))
            if k in needs_dx:
                dxs.append(_factor(w, k, x.dim()) * g)
            continue
        m, v = _moments(x) if mean is None or var is None else (mean[row], var[row])
        x_hat, inverse = _normed(x, m, v, eps)
        if needs_dw:
            dw.append(_weight_gradient(g * x_hat, w))
        if k in needs_dx:
            inner = g
            if training:
                off = (g * x_hat).mean(_space(g), keepdim=True)
                inner = g - g.mean(_space(g), keepdim=True) - x_hat * off
            dxs.append(_factor(w, k, x.dim()) * inverse * inner)
    return dxs, dw


def _bwd_reference(
    g: Tensor,
    xs: list[Tensor],
    w: Tensor,
    normed: list[bool],
    mean: Tensor,
    var: Tensor,
    eps: float,
    training: bool,
    needs_dx: list[int],
    needs_dw: bool,
) -> tuple[list[Tensor], Tensor]:
    acc = computing_dtype(g.dtype)
    like = torch.empty_like(xs[0])
    dxs, dw = _gradients(
        matched(g, like, acc), [x.to(acc) for x in xs], w.to(acc), normed, mean.to(acc),
        var.to(acc), eps, training, needs_dx, needs_dw,
    )  # fmt: skip
    found = dict(zip(sorted(needs_dx), dxs, strict=True))
    return (
        [torch.empty_like(like).copy_(found[k]) for k in needs_dx],
        torch.stack(dw).to(w.dtype) if needs_dw else w.new_empty(0),
    )


def _fwd_fake(
    xs: list[Tensor],
    w: Tensor,
    normed: list[bool],
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (sum(normed), xs[0].shape[1])
    acc = computing_dtype(xs[0].dtype)
    return (
        torch.empty_like(xs[0]),
        xs[0].new_empty(shape, dtype=acc),
        xs[0].new_empty(shape, dtype=acc),
    )


def _bwd_fake(
    g: Tensor,
    xs: list[Tensor],
    w: Tensor,
    normed: list[bool],
    mean: Tensor,
    var: Tensor,
    eps: float,
    training: bool,
    needs_dx: list[int],
    needs_dw: bool,
) -> tuple[list[Tensor], Tensor]:
    return [torch.empty_like(xs[0]) for _ in needs_dx], w.new_empty(w.shape if needs_dw else 0)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    xs, w, normed, given, _, eps = inputs
    _, mean, var = output
    ctx.mark_non_differentiable(mean, var)
    ctx.normed, ctx.eps, ctx.training = normed, eps, given is None
    # No other x is read by a gradient that can be asked for, so none is kept alive.
    ctx.kept = [
        k
        for k, x in enumerate(xs)
        if w.requires_grad or (ctx.training and normed[k] and x.requires_grad)
    ]
    ctx.save_for_backward(w, mean, var, *(xs[k] for k in ctx.kept))


def _backward(
    ctx: Any, g: Tensor, _mean: Tensor, _var: Tensor
) -> tuple[list[Tensor | None] | Tensor | None, ...]:
    w, mean, var, *kept = ctx.saved_tensors
    needs_x, needs_w = ctx.needs_input_grad[:2]
    needs_dx = [k for k, needed in enumerate(needs_x) if needed]
    # Tensors that are not read need only the right shape.
    found = dict(zip(ctx.kept, kept, strict=True))
    xs = [found.get(k, kept[0] if kept else g) for k in range(len(ctx.normed))]
    if torch.is_grad_enabled():  # the gradient itself will be differentiated
        acc = computing_dtype(g.dtype)
        if ctx.training:  # as saved they would hide that they depend on x
            mean = var = None
        dxs, terms = _gradients(
            g.to(acc), [x.to(acc) for x in xs], w.to(acc), ctx.normed, mean, var, ctx.eps,
            ctx.training, needs_dx, needs_w,
        )  # fmt: skip
        dxs = [dx.to(g.dtype) for dx in dxs]
        dw = torch.stack(terms).to(w.dtype) if needs_w else w
    else:
        dxs, dw = torch.ops.nas_domains.norm_weighted_sum_bwd(
            g, xs, w, ctx.normed, mean, var, ctx.eps, ctx.training, needs_dx, needs_w
        )
    of = dict(zip(needs_dx, dxs, strict=True))
    return [of.get(k) for k in range(len(xs))], dw if needs_w else None, None, None, None, None


define(
    "norm_weighted_sum_fwd",
    "(Tensor[] xs, Tensor w, bool[] normed, Tensor? mean, Tensor? var, float eps) "
    "-> (Tensor, Tensor, Tensor)",
    _fwd_reference,
    _fwd_fake,
    triton="nas_domains.kernels.norm_weighted_sum:norm_weighted_sum_fwd",
)
# x_k is read only where dw is wanted or, in training, dx_k of a normed branch is; any tensor of
# its shape may stand for it elsewhere. needs_dx lists the k whose dx_k is wanted.
define(
    "norm_weighted_sum_bwd",
    "(Tensor g, Tensor[] xs, Tensor w, bool[] normed, Tensor mean, Tensor var, float eps, "
    "bool training, int[] needs_dx, bool needs_dw) -> (Tensor[], Tensor)",
    _bwd_reference,
    _bwd_fake,
    triton="nas_domains.kernels.norm_weighted_sum:norm_weighted_sum_bwd",
)
torch.library.register_autograd(
    "nas_domains::norm_weighted_sum_fwd", _backward, setup_context=_setup_context
)
