"""Sums over pixels of a gradient, alone and times each of several maps, for each channel."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .weighted_sum import _acc, _on

__all__ = ["channel_sums"]


@triton.jit(do_not_specialize=["rows", "tiles"])
def _channel_sums_kernel(
    g,
    xs,
    means,
    shares,
    rows,
    tiles,
    C: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    SUMS: tl.constexpr,
    ACC: tl.constexpr,
):
    part = tl.program_id(0)
    c, k_of = tl.arange(0, LANES), tl.arange(0, SUMS)
    inside = c < C
    totals = tl.zeros([SUMS, LANES], ACC)
    for tile in range(part * tiles, (part + 1) * tiles):
        row = tile * ROWS + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & inside[None, :]
        offsets = row.to(tl.int64)[:, None] * C + c[None, :]
        grad = tl.load(g + offsets, mask=mask, other=0).to(ACC)
        totals += tl.where(k_of[:, None] == len(xs), tl.sum(grad, 0)[None, :], 0)
        for k in tl.static_range(len(xs)):
            mean = tl.load(means + k * C + c, mask=inside, other=0).to(ACC)
            x = tl.load(xs[k] + offsets, mask=mask, other=0).to(ACC) - mean[None, :]
            totals += tl.where(k_of[:, None] == k, tl.sum(grad * x, 0)[None, :], 0)
    at = shares + (part * (len(xs) + 1) + k_of[:, None]) * C + c[None, :]
    tl.store(at, totals, mask=(k_of <= len(xs))[:, None] & inside[None, :])


def channel_sums(g: Tensor, xs: list[Tensor], means: Tensor) -> Tensor:
    """Returns the sums over rows of ``g (xs[k] - means[k])`` for each k, and of g last.

    Args:
        g: [rows, C].
        xs: K tensors [rows, C].
        means: [K, C] in the computing dtype.

    Returns:
        [K + 1, C] in the dtype of the means, added in an order that depends on the shape alone.
    """
    rows, channels = g.shape
    lanes = triton.next_power_of_2(channels)
    height = max(1, 4096 // lanes)
    tiles = triton.cdiv(rows, height)
    each = triton.cdiv(tiles, 512)
    parts = triton.cdiv(tiles, each)
    shares = means.new_empty((parts, len(xs) + 1, channels))
    with _on(g):
        _channel_sums_kernel[(parts,)](
            g, tuple(xs), means, shares, rows, each, C=channels, LANES=lanes, ROWS=height,
            SUMS=triton.next_power_of_2(len(xs) + 1), ACC=_acc(g),
        )  # fmt: skip
    return shares.sum(0)
