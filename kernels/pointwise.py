"""Pointwise convolutions of several maps at once, with what stands beside them in a mixed edge.

A map is [rows, C], its rows the pixels of a batch in channels-last. The forward also measures each
channel of what it makes. The backward makes the gradient of a batch norm's input from three
coefficients a channel while it reads, ``dz = c0 g + c1 z + c2``, so that it is never stored.

Both leave sums of a few partial results to torch, each in an order that depends on the shape
alone. Up to ``MOST_CHANNELS`` channels in float32 or half types; otherwise torch multiplies.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.target_info import is_hip

from .channels import joined
from .launch import on
from .layout import computing_dtype

__all__ = ["MOST_CHANNELS", "backward", "forward"]

MOST_CHANNELS = 64


@triton.jit(do_not_specialize=["rows", "tiles"])
def _pointwise_fwd_kernel(
    d,
    weights,
    z,
    shares,
    rows,
    tiles,
    stage,
    STAGES: tl.constexpr,
    C: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    MEASURE: tl.constexpr,
):
    PRECISION: tl.constexpr = "ieee" if is_hip() else "tf32x3"
    # Program (p, i) multiplies some tiles of map i and shares their mean and sum of squares.
    part, map = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, LANES)
    inside = c < C
    square = inside[:, None] & inside[None, :]
    matrix = tl.load(weights + map * C * C + c[None, :] * C + c[:, None], mask=square, other=0)
    to = z
    for k in tl.static_range(len(STAGES)):
        if map == k:
            to = z + stage.to(tl.int64) * STAGES[k]
    at = d + map.to(tl.int64) * rows * C
    count = 0
    mean = tl.zeros([LANES], tl.float32)
    squares = tl.zeros([LANES], tl.float32)
    for step in range(tiles):
        tile = part * tiles + step
        row = tile * ROWS + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & inside[None, :]
        offsets = row.to(tl.int64)[:, None] * C + c[None, :]
        out = tl.dot(tl.load(at + offsets, mask=mask, other=0), matrix, input_precision=PRECISION)
        tl.store(to + offsets, out.to(z.dtype.element_ty), mask=mask)
        if MEASURE:
            here = tl.minimum(tl.maximum(rows - tile * ROWS, 0), ROWS)
            own = tl.sum(out, 0) / tl.maximum(here, 1)
            off = tl.where((row < rows)[:, None], out - own[None, :], 0)
            # Two sets of values joined, as by Chan, Golub & LeVeque 1979.
            share = here / tl.maximum(count + here, 1)
            squares += tl.sum(off * off, 0) + (own - mean) * (own - mean) * (share * count)
            mean += (own - mean) * share
            count += here
    if MEASURE:
        share = shares + (part * tl.num_programs(1) + map) * 2 * C
        tl.store(share + c, mean, mask=inside)
        tl.store(share + C + c, squares, mask=inside)


@triton.jit(do_not_specialize=["rows", "tiles"])
def _pointwise_bwd_kernel(
    g,
    z,
    d,
    weights,
    coefficients,
    dd,
    shares,
    rows,
    tiles,
    stage,
    STAGES: tl.constexpr,
    C: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    NEEDS_DD: tl.constexpr,
    NEEDS_DW: tl.constexpr,
):
    PRECISION: tl.constexpr = "ieee" if is_hip() else "tf32x3"
    part, map = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, LANES)
    inside = c < C
    square = inside[:, None] & inside[None, :]
    matrix = tl.load(weights + map * C * C + c[:, None] * C + c[None, :], mask=square, other=0)
    c0 = tl.load(coefficients + map * 3 * C + c, mask=inside, other=0)
    c1 = tl.load(coefficients + map * 3 * C + C + c, mask=inside, other=0)
    c2 = tl.load(coefficients + map * 3 * C + 2 * C + c, mask=inside, other=0)
    of = z
    for k in tl.static_range(len(STAGES)):
        if map == k:
            of = z + stage.to(tl.int64) * STAGES[k]
    start = map.to(tl.int64) * rows * C
    total = tl.zeros([LANES, LANES], tl.float32)
    for step in range(tiles):
        tile = part * tiles + step
        row = tile * ROWS + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & inside[None, :]
        offsets = row.to(tl.int64)[:, None] * C + c[None, :]
        from_g = tl.load(g + offsets, mask=mask, other=0).to(tl.float32)
        from_z = tl.load(of + offsets, mask=mask, other=0).to(tl.float32)
        dz = c0[None, :] * from_g + (c1[None, :] * from_z + c2[None, :])
        dz = tl.where(mask, dz, 0).to(matrix.dtype)
        if NEEDS_DD:
            back = tl.dot(dz, matrix, input_precision=PRECISION)
            tl.store(dd + start + offsets, back.to(dd.dtype.element_ty), mask=mask)
        if NEEDS_DW:
            own = tl.load(d + start + offsets, mask=mask, other=0)
            total += tl.dot(tl.trans(dz), own, input_precision=PRECISION)
    if NEEDS_DW:
        share = shares + (part * tl.num_programs(1) + map) * C * C
        tl.store(share + c[:, None] * C + c[None, :], total, mask=square)


def _parts(rows: int, channels: int, tile: int) -> tuple[int, int]:
    """Returns (programs, tiles of each): many, but their shares small beside the maps."""
    tiles = triton.cdiv(rows, tile)
    each = triton.cdiv(tiles, max(1, min(256, rows // (4 * channels))))
    return triton.cdiv(tiles, each), each


def _sizes(like: Tensor) -> dict[str, int]:
    channels = like.shape[-1]
    lanes = max(16, triton.next_power_of_2(channels))
    # As many rows as the registers of each target hold.
    return {
        "C": channels,
        "LANES": lanes,
        "ROWS": 64 if lanes * like.element_size() < 256 else 32,
        "num_warps": 4 if lanes == 16 else 8,
        "num_stages": 1,
    }


def _stride(z: Tensor) -> int:
    """Elements between maps; of one map any that Triton does not take for the constant 1."""
    return z.stride(0) if z.shape[0] > 1 else 16


def _multiplies(d: Tensor) -> bool:
    fits = d.shape[-1] <= MOST_CHANNELS and d.shape[-2] < 2**31 - 64
    return fits and d.dtype != torch.float64


def forward(
    d: Tensor, weights: Tensor, z: Tensor, stages: tuple[int, ...], measure: bool
) -> tuple[Tensor, Tensor]:
    """Writes the products ``d[i] @ weights[i].T`` to ``z[stages[i]]``.

    Args:
        d: [n, rows, C].
        weights: [n, C, C], outputs first.
        z: [any, rows, C], each map dense; written.
        stages: n places in z.
        measure: Whether the mean and variance of each channel are wanted.

    Returns:
        Mean and biased variance [n, C] in the computing dtype; [0, C] if not wanted.
    """
    n, rows, channels = d.shape
    dtype = computing_dtype(d.dtype)
    if not _multiplies(d):
        for i, stage in enumerate(stages):
            torch.matmul(d[i], weights[i].T, out=z[stage])
        if not measure:
            return (d.new_empty((0, channels), dtype=dtype),) * 2
        found = [torch.var_mean(z[stage].to(dtype), 0, correction=0) for stage in stages]
        return torch.stack([mean for _, mean in found]), torch.stack([var for var, _ in found])
    sizes = _sizes(d)
    parts, tiles = _parts(rows, channels, sizes["ROWS"])
    shares = d.new_empty((parts if measure else 0, n, 2, channels), dtype=dtype)
    with on(d):
        _pointwise_fwd_kernel[(parts, n)](
            d,
            weights,
            z,
            shares,
            rows,
            tiles,
            _stride(z),
            STAGES=stages,
            MEASURE=measure,
            **sizes,
        )
    if not measure:
        return (d.new_empty((0, channels), dtype=dtype),) * 2
    return joined(shares, tiles * sizes["ROWS"], rows)


def backward(
    g: Tensor,
    z: Tensor,
    d: Tensor,
    weights: Tensor,
    coefficients: Tensor,
    stages: tuple[int, ...],
    dd: Tensor | None,
    needs_dw: bool,
) -> Tensor:
    """Writes the gradients of the d[i] to ``dd``, and returns those of the weights.

    Args:
        g: [rows, C], the gradient of every map's normed output.
        z: [any, rows, C], what the forward wrote.
        d: [n, rows, C]; read only if ``needs_dw``.
        weights: [n, C, C].
        coefficients: [n, 3, C] in the computing dtype.
        stages: n places in z.
        dd: [n, rows, C], written, or None.
        needs_dw: Whether the gradients of the weights are wanted.

    Returns:
        [n, C, C] in the computing dtype; [0, C, C] if not wanted.
    """
    n, channels = weights.shape[:2]
    rows = g.shape[0]
    dtype = coefficients.dtype
    shape = n if needs_dw else 0, channels, channels
    if not _multiplies(g):
        dw = g.new_empty(shape, dtype=dtype)
        for i, stage in enumerate(stages):
            c0, c1, c2 = coefficients[i]
            dz = (c0 * g.to(dtype) + c1 * z[stage].to(dtype) + c2).to(g.dtype)
            if dd is not None:
                torch.matmul(dz, weights[i], out=dd[i])
            if needs_dw:
                # Into its place: autocast, which is on in a backward too, leaves such calls alone.
                torch.mm(dz.T.to(dtype), d[i].to(dtype), out=dw[i])
        return dw
    sizes = _sizes(g)
    parts, tiles = _parts(rows, channels, sizes["ROWS"])
    shares = g.new_empty((parts, *shape), dtype=dtype)
    with on(g):
        _pointwise_bwd_kernel[(parts, n)](
            g, z, d, weights, coefficients, dd, shares, rows, tiles, _stride(z), STAGES=stages,
            NEEDS_DD=dd is not None, NEEDS_DW=needs_dw, **sizes,
        )  # fmt: skip
    return shares.sum(0)
