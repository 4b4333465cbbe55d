"""Triton kernels of ``nas_domains.ops.norm_weighted_sum``, which holds the formula."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .channels import channel_sums, grid_of, moments, offsets
from .launch import acc, on
from .layout import computing_dtype, matched

__all__ = ["norm_weighted_sum_bwd", "norm_weighted_sum_fwd"]


@triton.jit(do_not_specialize=["positions", "inner"])
def _apply_kernel(
    xs,
    means,
    factors,
    out,
    positions,
    inner,
    C: tl.constexpr,
    INNER: tl.constexpr,
    WIDE: tl.constexpr,
    LANES: tl.constexpr,
    HEIGHT: tl.constexpr,
    ACC: tl.constexpr,
):
    tile = tl.program_id(0)
    at, mask, c, inside = offsets(tile, positions, inner, C, INNER, WIDE, LANES, HEIGHT)
    total = tl.zeros([HEIGHT, LANES], ACC)
    for k in tl.static_range(len(xs)):
        mean = tl.load(means + k * C + c, mask=inside, other=0)
        factor = tl.load(factors + k * C + c, mask=inside, other=0)
        x = tl.load(xs[k] + at, mask=mask, other=0).to(ACC)
        total += factor[None, :] * (x - mean[None, :])
    tl.store(out + at, total.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["positions", "inner"])
def _dx_kernel(
    g,
    xs,
    means,
    coefficients,
    dxs,
    positions,
    inner,
    READS: tl.constexpr,
    C: tl.constexpr,
    INNER: tl.constexpr,
    WIDE: tl.constexpr,
    LANES: tl.constexpr,
    HEIGHT: tl.constexpr,
    ACC: tl.constexpr,
):
    # dx = c0 g + c1 (x - mean) + c2; the last two only of the branches that READS names.
    tile = tl.program_id(0)
    at, mask, c, inside = offsets(tile, positions, inner, C, INNER, WIDE, LANES, HEIGHT)
    grad = tl.load(g + at, mask=mask, other=0).to(ACC)
    for k in tl.static_range(len(dxs)):
        own = coefficients + k * 3 * C + c
        dx = tl.load(own, mask=inside, other=0)[None, :] * grad
        if READS[k]:
            mean = tl.load(means + k * C + c, mask=inside, other=0)
            c1 = tl.load(own + C, mask=inside, other=0)
            c2 = tl.load(own + 2 * C, mask=inside, other=0)
            x = tl.load(xs[k] + at, mask=mask, other=0).to(ACC)
            dx += c1[None, :] * (x - mean[None, :]) + c2[None, :]
        tl.store(dxs[k] + at, dx.to(dxs[k].dtype.element_ty), mask=mask)


def _spread(values: Tensor, normed: list[bool], otherwise: Tensor) -> Tensor:
    """Rows of the normed branches, and ``otherwise`` [C] for the others: [K, C]."""
    rows = iter(values)
    return torch.stack([next(rows) if on else otherwise for on in normed])


def _column(w: Tensor) -> Tensor:
    """[K] as [K, 1]; [K, C] as it is."""
    return w[:, None] if w.dim() == 1 else w


def norm_weighted_sum_fwd(
    xs: list[Tensor],
    w: Tensor,
    normed: list[bool],
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Host function of the op ``nas_domains::norm_weighted_sum_fwd``."""
    out = torch.empty_like(xs[0])
    dtype = computing_dtype(out.dtype)
    channels = out.shape[1]
    xs = [matched(x, out) for x in xs]
    own = [x for x, on in zip(xs, normed, strict=True) if on]
    if mean is not None and var is not None:
        # Copies, as no op of ours returns its input.
        mean, var = (mean.to(dtype, copy=True).contiguous(), var.to(dtype, copy=True).contiguous())
    elif own and out.numel() > 0:
        mean, var = moments(own, dtype)
    else:
        mean = out.new_full((len(own), channels), float("nan"), dtype=dtype)
        var = mean.clone()
    if out.numel() > 0:
        one = torch.ones(channels, dtype=dtype, device=out.device)
        # Dense, which a product with transposed weights is not.
        factors = (_column(w.to(dtype)) * _spread((var + eps).rsqrt(), normed, one)).contiguous()
        grid = grid_of(out, len(xs))
        with on(out):
            _apply_kernel[(grid.tiles, grid.blocks)](
                tuple(xs), _spread(mean, normed, torch.zeros_like(one)), factors, out,
                grid.positions, grid.inner, ACC=acc(factors), **grid.constants(),
            )  # fmt: skip
    return out, mean, var


def norm_weighted_sum_bwd(
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
    """Host function of the op ``nas_domains::norm_weighted_sum_bwd``."""
    like = torch.empty_like(xs[0])
    dtype = computing_dtype(g.dtype)
    g = matched(g, like)
    dxs = [torch.empty_like(like) for _ in needs_dx]
    if like.numel() == 0:
        return dxs, w.new_zeros(w.shape if needs_dw else 0)
    grid = grid_of(like, len(xs))
    zero = torch.zeros(grid.channels, dtype=dtype, device=g.device)
    means = _spread(mean.to(dtype), normed, zero)
    inverse = _spread((var.to(dtype) + eps).rsqrt(), normed, zero + 1)
    # Branches whose x a sum or a gradient reads.
    reads = [training and normed[k] for k in needs_dx]
    summed = (
        list(range(len(xs)))
        if needs_dw
        else [k for k, read in zip(needs_dx, reads, strict=True) if read]
    )
    sums, total = {}, zero
    if summed:
        found = channel_sums(
            g, [matched(xs[k], like) for k in summed], torch.stack([means[k] for k in summed])
        )
        sums, total = dict(zip(summed, found, strict=False)), found[-1]
    if dxs:
        rows = []
        for k, read in zip(needs_dx, reads, strict=True):
            c0 = w[k].to(dtype) * inverse[k]
            c1 = c0 * inverse[k].square() * sums[k] / -grid.positions if read else zero
            rows.append(torch.stack([c0, c1, c0 * total / -grid.positions if read else zero]))
        own = [matched(xs[k], like) if r else g for k, r in zip(needs_dx, reads, strict=True)]
        with on(g):
            _dx_kernel[(grid.tiles, grid.blocks)](
                g, tuple(own), torch.stack([means[k] for k in needs_dx]), torch.stack(rows),
                tuple(dxs), grid.positions, grid.inner, READS=tuple(reads), ACC=acc(zero),
                **grid.constants(),
            )  # fmt: skip
    if not needs_dw:
        return dxs, w.new_empty(0)
    dw = torch.stack([sums[k] * inverse[k] for k in range(len(xs))])
    return dxs, (dw.sum(1) if w.dim() == 1 else dw).to(w.dtype)
