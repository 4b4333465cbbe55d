"""Sums of maps for each channel, in any dense layout.

In memory a dense tensor is [outer, C, inner], whatever the order of its dimensions: inner is 1 in
channels-last and the size of a plane in contiguous ones. Kernels see positions, outer and inner
together, beside channels. A program goes through several tiles of positions and shares what it
found, in an order that depends on the shape alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import acc, on

__all__ = ["Grid", "channel_sums", "grid_of", "joined", "moments", "offsets"]


@dataclass(frozen=True)
class Grid:
    """How a tensor's positions and channels are cut into tiles.

    Attributes:
        channels: C.
        inner: Elements between two channels of one position.
        positions: Positions in all.
        lanes: Channels of a tile.
        height: Positions of a tile.
    """

    channels: int
    inner: int
    positions: int
    lanes: int
    height: int

    @property
    def blocks(self) -> int:
        """Tiles beside each other, that together hold all channels."""
        return triton.cdiv(self.channels, self.lanes)

    @property
    def tiles(self) -> int:
        """Tiles above each other, that together hold all positions."""
        return triton.cdiv(self.positions, self.height)

    def parts(self, most: int = 512) -> tuple[int, int]:
        """Returns (programs above each other, tiles of each)."""
        each = triton.cdiv(self.tiles, most)
        return triton.cdiv(self.tiles, each), each

    def constants(self) -> dict[str, int]:
        """What the kernels are compiled for."""
        return {
            "C": self.channels,
            "INNER": self.inner == 1,
            "WIDE": self.positions > 2**31 - self.height,
            "LANES": self.lanes,
            "HEIGHT": self.height,
            "num_warps": max(4, self.lanes * self.height // 1024),
        }


def grid_of(like: Tensor, count: int = 1) -> Grid:
    """Returns the grid of ``count`` dense tensors [B, C, ...].

    Tiles are as large as the registers allow, which hold one of each tensor: each tile loads the
    parameters of its channels anew.
    """
    channels = like.shape[1]
    inner = like.stride(1) if channels > 1 else 1
    if inner == 1:
        lanes = min(128, triton.next_power_of_2(channels))
        tile = (16384 if count < 8 else 8192) // like.element_size()
    else:
        lanes, tile = 1, 2048 if count < 8 else 1024
    return Grid(channels, inner, like.numel() // channels, lanes, max(1, tile // lanes))


@triton.jit
def offsets(
    tile,
    positions,
    inner,
    C: tl.constexpr,
    INNER: tl.constexpr,
    WIDE: tl.constexpr,
    LANES: tl.constexpr,
    HEIGHT: tl.constexpr,
):
    """Returns offsets and mask [HEIGHT, LANES] of a tile, and its channels and their mask."""
    # Division of 64 bits costs far more.
    at = (tile.to(tl.int64) if WIDE else tile) * HEIGHT + tl.arange(0, HEIGHT)
    c = tl.program_id(1) * LANES + tl.arange(0, LANES)
    mask = (at < positions)[:, None] & (c < C)[None, :]
    if INNER:
        return at.to(tl.int64)[:, None] * C + c[None, :], mask, c, c < C
    plane = at // inner
    wide = tl.cast(inner, tl.int64)
    start = plane * (wide * C) + (at - plane * inner)
    return start[:, None] + c[None, :] * wide, mask, c, c < C


@triton.jit(do_not_specialize=["positions", "tiles", "inner"])
def _moments_kernel(
    xs,
    shares,
    positions,
    tiles,
    inner,
    C: tl.constexpr,
    INNER: tl.constexpr,
    WIDE: tl.constexpr,
    LANES: tl.constexpr,
    HEIGHT: tl.constexpr,
    ACC: tl.constexpr,
):
    part = tl.program_id(0)
    for k in tl.static_range(len(xs)):
        count = 0
        mean = tl.zeros([LANES], ACC)
        squares = tl.zeros([LANES], ACC)
        for step in range(tiles):
            tile = part * tiles + step
            at, mask, _, _ = offsets(tile, positions, inner, C, INNER, WIDE, LANES, HEIGHT)
            x = tl.load(xs[k] + at, mask=mask, other=0).to(ACC)
            start = tile.to(tl.int64) * HEIGHT
            here = tl.minimum(tl.maximum(positions - start, 0), HEIGHT).to(tl.int32)
            own = tl.sum(x, 0) / tl.maximum(here, 1)
            off = tl.where(mask, x - own[None, :], 0)
            # What rounding left of the mean is put right, and two sets of values are joined as by
            # Chan, Golub & LeVeque 1979.
            left = tl.sum(off, 0) / tl.maximum(here, 1)
            own += left
            share = here / tl.maximum(count + here, 1).to(ACC)
            squares += tl.sum(off * off, 0) - left * left * here
            squares += (own - mean) * (own - mean) * (share * count)
            mean += (own - mean) * share
            count += here
        c = tl.program_id(1) * LANES + tl.arange(0, LANES)
        at_share = shares + (part * len(xs) + k) * 2 * C + c
        tl.store(at_share, mean, mask=c < C)
        tl.store(at_share + C, squares, mask=c < C)


@triton.jit(do_not_specialize=["positions", "tiles", "inner"])
def _channel_sums_kernel(
    g,
    xs,
    means,
    shares,
    positions,
    tiles,
    inner,
    C: tl.constexpr,
    INNER: tl.constexpr,
    WIDE: tl.constexpr,
    LANES: tl.constexpr,
    HEIGHT: tl.constexpr,
    SUMS: tl.constexpr,
    ACC: tl.constexpr,
):
    part = tl.program_id(0)
    k_of = tl.arange(0, SUMS)
    totals = tl.zeros([SUMS, LANES], ACC)
    for step in range(tiles):
        tile = part * tiles + step
        at, mask, c, inside = offsets(tile, positions, inner, C, INNER, WIDE, LANES, HEIGHT)
        grad = tl.load(g + at, mask=mask, other=0).to(ACC)
        totals += tl.where(k_of[:, None] == len(xs), tl.sum(grad, 0)[None, :], 0)
        for k in tl.static_range(len(xs)):
            mean = tl.load(means + k * C + c, mask=inside, other=0).to(ACC)
            x = tl.load(xs[k] + at, mask=mask, other=0).to(ACC) - mean[None, :]
            totals += tl.where(k_of[:, None] == k, tl.sum(grad * x, 0)[None, :], 0)
    c = tl.program_id(1) * LANES + tl.arange(0, LANES)
    to = shares + (part * (len(xs) + 1) + k_of[:, None]) * C + c[None, :]
    tl.store(to, totals, mask=(k_of <= len(xs))[:, None] & (c < C)[None, :])


def joined(shares: Tensor, each: int, positions: int) -> tuple[Tensor, Tensor]:
    """Joins the means and sums of squares of parts of ``each`` positions, the last with fewer.

    Args:
        shares: [parts, K, 2, C].
        each: Positions of a part.
        positions: Of all.

    Returns:
        Mean and biased variance [K, C].
    """
    parts = shares.shape[0]
    counts = torch.full((parts, 1, 1), each, dtype=shares.dtype, device=shares.device)
    counts[-1] = positions - (parts - 1) * each
    means, squares = shares.unbind(2)
    mean = (counts * means).sum(0) / positions
    return mean, (squares + counts * (means - mean).square()).sum(0) / positions


def moments(xs: list[Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns mean and biased variance [K, C] of K dense tensors [B, C, ...] of one layout."""
    grid = grid_of(xs[0])
    parts, each = grid.parts()
    shares = xs[0].new_empty((parts, len(xs), 2, grid.channels), dtype=dtype)
    with on(shares):
        _moments_kernel[(parts, grid.blocks)](
            tuple(xs), shares, grid.positions, each, grid.inner, ACC=acc(shares),
            **grid.constants(),
        )  # fmt: skip
    return joined(shares, each * grid.height, grid.positions)


def channel_sums(g: Tensor, xs: list[Tensor], means: Tensor) -> Tensor:
    """Returns the sums of ``g (xs[k] - means[k])`` for each k, and of g last: [K + 1, C].

    Args:
        g: A dense tensor [B, C, ...].
        xs: K tensors of its shape and layout.
        means: [K, C] in the computing dtype.
    """
    grid = grid_of(g, len(xs))
    parts, each = grid.parts()
    shares = means.new_empty((parts, len(xs) + 1, grid.channels))
    with on(g):
        _channel_sums_kernel[(parts, grid.blocks)](
            g, tuple(xs), means, shares, grid.positions, each, grid.inner,
            SUMS=triton.next_power_of_2(len(xs) + 1), ACC=acc(means), **grid.constants(),
        )  # fmt: skip
    return shares.sum(0)
