r"""The mixed edge: every candidate of a DARTS or NAS-Bench-201 edge in one op.

.. math::
    y = \sum_k w_k o_k(x), \qquad dw_k = \langle g, o_k(x) \rangle, \qquad
    dx = \sum_k w_k \left( \partial o_k / \partial x \right)^T g

with the branches :math:`o_k` of Liu et al. 2019 (arXiv:1806.09055) and Dong & Yang 2020
(arXiv:2001.00326), their convolutions in the order ReLU, convolution, batch norm without affine
parameters, and batch statistics in training. The backward recomputes everything but the inputs of
the batch norms after a convolution: it keeps x and one map a convolution where autograd keeps
thirty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import mixed_edge_backward, mixed_edge_reference
from .backend import define, resolved
from .mixed_edge_checks import check_edge
from .mixed_edge_reference import BRANCHES, counts_of, saved_like

__all__ = ["BRANCHES", "gradients", "mixed_edge", "mixed_edge_unchecked"]


def mixed_edge(
    x: Tensor,
    w: Tensor,
    params: Sequence[Tensor],
    branches: Sequence[str],
    stride: int = 1,
    *,
    mean: Tensor | None = None,
    var: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the weighted sum of all branches of an edge, and the statistics of its batch norms.

    Differentiable in x, w and params, any number of times (a second derivative is computed by the
    plain PyTorch formula, with the memory that it needs). No gradient is computed that is not
    asked for.

    Args:
        x: [B, C, H, W], float32 or float64; channels-last is read without a copy.
        w: [K] weights of the branches.
        params: Convolution weights of the branches, in their order: for ``sep_conv_k`` depthwise
            [C, 1, k, k] and pointwise [C, C, 1, 1], twice; for ``dil_conv_k`` once; for ``conv_k``
            [C, C, k, k]; for ``reduce`` [C - C // 2, C, 1, 1] and [C // 2, C, 1, 1].
        branches: K names of ``BRANCHES``, each at most once: ``none``, ``skip`` (stride 1),
            ``reduce`` (stride 2: the factorized reduction), ``max_pool`` and ``avg_pool`` (3x3,
            then batch norm; padding is not counted), ``avg_pool_plain`` (no batch norm),
            ``sep_conv_3``, ``sep_conv_5``, ``dil_conv_3``, ``dil_conv_5`` (dilation 2),
            ``conv_1``, ``conv_3``.
        stride: 1 or 2.
        mean: [norms, C] statistics to normalise with; None takes those of the batch.
        var: [norms, C], as ``mean``.
        eps: Added to variances.

    Returns:
        y [B, C, ceil(H / stride), ceil(W / stride)] in channels-last; and the mean and the biased
        variance [norms, C] that the batch norms, in the order of the branches, have used. Those
        two carry no gradient.

    Raises:
        TypeError: A dtype is not float32 or float64.
        ValueError: Shapes, names, devices or the number of weights do not fit, or a channel has a
            single value to take statistics of.
    """
    codes = check_edge(x, w, params, branches, stride, mean, var)
    params = [p if p.dtype == x.dtype else p.to(x.dtype) for p in params]
    return mixed_edge_unchecked(x, w, params, codes, stride, mean, var, eps)


def mixed_edge_unchecked(
    x: Tensor,
    w: Tensor,
    params: Sequence[Tensor],
    codes: Sequence[int],
    stride: int,
    mean: Tensor | None = None,
    var: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`mixed_edge` for a caller that knows its arguments, which is asked at each step.

    Args:
        x: As there, with two values a channel at least where ``mean`` is None.
        w: As there, on the device of x.
        params: As there, of the dtype and on the device of x.
        codes: Places of the branches in ``NAMES``.
        stride: As there.
        mean: As there.
        var: As there.
        eps: As there.

    Returns:
        What :func:`mixed_edge` does.
    """
    training = mean is None
    if w.dtype != x.dtype:
        w = w.to(x.dtype)
    if mean is not None and var is not None:
        mean, var = mean.to(x.dtype), var.to(x.dtype)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, w, *params))
    if keep and not torch.compiler.is_compiling():
        apply: Any = _Eager.apply  # untyped in torch
        settings = codes, stride, *_given(x, mean, var), training, eps, True
        y, batch_mean, batch_var, _ = apply(x, w, settings, *params)
    else:
        y, batch_mean, batch_var, _ = torch.ops.nas_domains.mixed_edge_fwd(
            x, w, params, codes, stride, *_given(x, mean, var), training, eps, keep
        )
    return (y, batch_mean, batch_var) if mean is None or var is None else (y, mean, var)


def _given(x: Tensor, mean: Tensor | None, var: Tensor | None) -> tuple[Tensor, Tensor]:
    """The statistics as the op takes them: nothing where it is to find them."""
    if mean is None or var is None:
        mean = var = x.new_empty((0, x.shape[1]))
    return mean, var


def output_like(x: Tensor, stride: int) -> Tensor:
    """Returns an empty tensor for y."""
    sides = (-(-x.shape[2] // stride), -(-x.shape[3] // stride))
    return torch.empty(
        (*x.shape[:2], *sides),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )


def _fwd_reference(
    x: Tensor,
    w: Tensor,
    params: list[Tensor],
    branches: list[int],
    stride: int,
    mean: Tensor,
    var: Tensor,
    training: bool,
    eps: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    means, variances, maps = [x.new_empty((0, x.shape[1]))], [x.new_empty((0, x.shape[1]))], []

    def note(kind: str, z: Tensor) -> None:
        if training:
            found = torch.var_mean(z, (0, 2, 3), correction=0)
            variances.append(found[0][None])
            means.append(found[1][None])
        if kind == "stage" and keep:
            maps.append(mixed_edge_reference.layout(z))

    y = mixed_edge_reference.formula(
        x, w, params, branches, stride, mean, var, training, eps, note
    )
    out = output_like(x, stride).copy_(y)
    z = torch.stack(maps) if maps else saved_like(x, out, 0)
    return out, torch.cat(means), torch.cat(variances), z


def _fwd_fake(
    x: Tensor,
    w: Tensor,
    params: list[Tensor],
    branches: list[int],
    stride: int,
    mean: Tensor,
    var: Tensor,
    training: bool,
    eps: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    norms, stages = counts_of(tuple(branches))
    rows = (norms if training else 0, x.shape[1])
    y = output_like(x, stride)
    return y, x.new_empty(rows), x.new_empty(rows), saved_like(x, y, stages if keep else 0)


def _bwd_fake(
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
    dx = torch.empty_like(x, memory_format=torch.channels_last) if needs_dx else x.new_empty(0)
    dw = w.new_empty(w.shape if needs_dw else 0)
    dparams = [
        torch.empty_like(params[i], memory_format=torch.contiguous_format) for i in needs_params
    ]
    return dx, dw, dparams


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.made_by = resolved("mixed_edge_fwd", inputs[0].device.type)
    _keep(ctx, inputs, output)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, w, params, ctx.branches, ctx.stride, mean, var, ctx.training, ctx.eps, _ = inputs
    _, batch_mean, batch_var, z = output
    if ctx.training:
        mean, var = batch_mean, batch_var
    ctx.mark_non_differentiable(batch_mean, batch_var, z)
    # Autograd would fill a tensor of zeros for the gradient of each, which nothing reads.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, w, mean, var, z, *params)


def _kept(ctx: Any, g: Tensor | None, needs: Sequence[bool]) -> list[Tensor | None]:
    x, w, mean, var, z, *params = ctx.saved_tensors
    if g is None:  # y was not used
        return [None] * (2 + len(params))
    return gradients(
        g, x, w, params, mean, var, z, ctx.branches, ctx.stride, ctx.training, ctx.eps,
        ctx.made_by, needs,
    )  # fmt: skip


def _backward(ctx: Any, g: Tensor | None, *_: Tensor) -> tuple[Any, ...]:
    needs_x, needs_w, needs_params = ctx.needs_input_grad[:3]
    dx, dw, *dparams = _kept(ctx, g, (needs_x, needs_w, *needs_params))
    return dx, dw, dparams, *[None] * 7


class _Eager(torch.autograd.Function):
    """The op without what torch.library does at each call for lists of tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, settings: Any, *params: Tensor) -> Any:
        ctx.made_by = resolved("mixed_edge_fwd", x.device.type)
        # Below autograd, whose own part in the op would run for nothing.
        with torch._C._AutoDispatchBelowAutograd():
            output = torch.ops.nas_domains.mixed_edge_fwd.default(x, w, params, *settings)
        _keep(ctx, (x, w, params, *settings), output)
        return output

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *_: Tensor) -> tuple[Any, ...]:
        needs = ctx.needs_input_grad
        dx, dw, *dparams = _kept(ctx, g, (*needs[:2], *needs[3:]))
        return dx, dw, None, *dparams


def gradients(
    g: Tensor,
    x: Tensor,
    w: Tensor,
    params: Sequence[Tensor],
    mean: Tensor,
    var: Tensor,
    z: Tensor,
    branches: Sequence[int],
    stride: int,
    training: bool,
    eps: float,
    made_by: str,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of x, of w and of each of the params by the op, None for one not wanted.

    Args:
        g: Gradient of y.
        x: As :func:`mixed_edge` has it, like the next.
        w: As there.
        params: As there.
        mean: What the forward used, like the variance.
        var: As the mean.
        z: The maps that it kept.
        branches: Their codes.
        stride: As there.
        training: Whether the mean and the variance are those of the batch.
        eps: As there.
        made_by: The backend of the forward.
        needs: Whether each gradient is wanted.
    """
    if torch.is_grad_enabled():
        # The gradient itself will be differentiated: what the op returned is a constant to
        # autograd, so everything is computed again from x.
        settings = branches, stride, mean, var, training, eps
        return _twice_differentiable(g, x, w, params, settings, needs)
    now = resolved("mixed_edge_bwd", x.device.type)
    if now != made_by and "triton" in (now, made_by):
        raise RuntimeError(
            f"mixed_edge: the backend {now} cannot read what {made_by} kept for the backward; "
            "run both passes on one backend."
        )
    wanted = [i for i, needed in enumerate(needs[2:]) if needed]
    dx, dw, found = torch.ops.nas_domains.mixed_edge_bwd.default(
        g, x, w, params, branches, stride, mean, var, training, eps, z, needs[0], needs[1], wanted
    )
    grads = dict(zip(wanted, found, strict=True))
    dparams = [grads.get(i) for i in range(len(params))]
    return [dx if needs[0] else None, dw if needs[1] else None, *dparams]


def _twice_differentiable(
    g: Tensor,
    x: Tensor,
    w: Tensor,
    params: Sequence[Tensor],
    settings: tuple[Any, ...],
    needs: Sequence[bool],
) -> list[Tensor | None]:
    # Views, as paths from one input through another are not those of this op.
    x, w, params = x.view_as(x), w.view_as(w), [p.view_as(p) for p in params]
    y = mixed_edge_reference.formula(x, w, params, *settings)
    inputs = [t for t, needed in zip((x, w, *params), needs, strict=True) if needed]
    grads = iter(
        torch.autograd.grad(
            y, inputs, g, create_graph=True, allow_unused=True, materialize_grads=True
        )
    )
    return [next(grads) if needed else None for needed in needs]


define(
    "mixed_edge_fwd",
    "(Tensor x, Tensor w, Tensor[] params, int[] branches, int stride, Tensor mean, Tensor var, "
    "bool training, float eps, bool keep) -> (Tensor, Tensor, Tensor, Tensor)",
    _fwd_reference,
    _fwd_fake,
    triton="nas_domains.ops.mixed_edge_gpu:forward",
)
# Without a gradient asked for, dx and dw are empty; needs_params lists the params whose is.
define(
    "mixed_edge_bwd",
    "(Tensor g, Tensor x, Tensor w, Tensor[] params, int[] branches, int stride, Tensor mean, "
    "Tensor var, bool training, float eps, Tensor z, bool needs_dx, bool needs_dw, "
    "int[] needs_params) -> (Tensor, Tensor, Tensor[])",
    mixed_edge_backward.reference,
    _bwd_fake,
    triton="nas_domains.ops.mixed_edge_gpu_backward:backward",
)
torch.library.register_autograd(
    "nas_domains::mixed_edge_fwd", _backward, setup_context=_setup_context
)
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("nas_domains::mixed_edge_fwd", _device, torch.float32)
