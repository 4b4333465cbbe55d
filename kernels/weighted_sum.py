"""Triton kernels of ``nas_domains.ops.weighted_sum``, which holds the formula.

The K tensors arrive as a tuple of pointers, that is as kernel arguments: one launch reads each
element once, with no table of pointers to copy to the device and no accumulation in memory. A
kernel is compiled for each K, of which a network has few.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import acc, on
from .layout import computing_dtype, matched

BLOCK = 1024


@triton.jit
def _weighted_sum_fwd_kernel(xs, w, out, n, ACC: tl.constexpr, BLOCK: tl.constexpr):
    # int64: an offset may pass 2**31 elements.
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    total = tl.zeros([BLOCK], ACC)
    for k in tl.static_range(len(xs)):
        total += tl.load(w + k).to(ACC) * tl.load(xs[k] + at, mask=mask, other=0).to(ACC)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _weighted_sum_dx_kernel(
    g, w, dxs, n, NEEDS: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    grad = tl.load(g + at, mask=mask, other=0).to(ACC)
    for j in tl.static_range(len(dxs)):
        dx = tl.load(w + NEEDS[j]).to(ACC) * grad
        tl.store(dxs[j] + at, dx.to(dxs[j].dtype.element_ty), mask=mask)


@triton.jit
def _weighted_sum_dw_kernel(g, xs, shares, n, ACC: tl.constexpr, BLOCK: tl.constexpr):
    block = tl.program_id(0).to(tl.int64)
    at = block * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    grad = tl.load(g + at, mask=mask, other=0).to(ACC)
    for k in tl.static_range(len(xs)):
        x = tl.load(xs[k] + at, mask=mask, other=0).to(ACC)
        tl.store(shares + block * len(xs) + k, tl.sum(grad * x))


def _weights(w: Tensor, count: int) -> Tensor:
    if w.shape != (count,):
        raise RuntimeError("weighted_sum needs one weight for each tensor.")
    return w.contiguous()


def weighted_sum_fwd(xs: list[Tensor], w: Tensor) -> Tensor:
    """Host function of the op ``nas_domains::weighted_sum_fwd``."""
    out = torch.empty_like(xs[0])
    w = _weights(w, len(xs))
    n = out.numel()
    if n > 0:
        inputs = tuple(matched(x, out) for x in xs)
        with on(out):
            _weighted_sum_fwd_kernel[(triton.cdiv(n, BLOCK),)](
                inputs, w, out, n, ACC=acc(out), BLOCK=BLOCK
            )
    return out


def weighted_sum_bwd(
    g: Tensor, xs: list[Tensor], w: Tensor, needs_dx: list[int]
) -> tuple[list[Tensor], Tensor]:
    """Host function of the op ``nas_domains::weighted_sum_bwd``.

    dw is summed in two stages, each in an order that depends on the shape alone, so that its bits
    repeat.
    """
    like = torch.empty_like(xs[0] if xs else g)
    g, w = matched(g, like), _weights(w, len(xs) or w.numel())
    if not all(0 <= k < len(w) for k in needs_dx):
        raise RuntimeError("weighted_sum_bwd: needs_dx names no tensor.")
    dxs = [torch.empty_like(like) for _ in needs_dx]
    n, blocks = like.numel(), triton.cdiv(like.numel(), BLOCK)
    shares = w.new_zeros((blocks, len(xs)), dtype=computing_dtype(g.dtype))
    with on(g):
        if dxs and n > 0:
            _weighted_sum_dx_kernel[(blocks,)](
                g, w, tuple(dxs), n, NEEDS=tuple(needs_dx), ACC=acc(g), BLOCK=BLOCK
            )
        if xs and n > 0:
            inputs = tuple(matched(x, like) for x in xs)
            _weighted_sum_dw_kernel[(blocks,)](g, inputs, shares, n, ACC=acc(g), BLOCK=BLOCK)
    return dxs, shares.sum(0).to(w.dtype)
