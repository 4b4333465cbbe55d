"""Triton kernels of ``nas_domains.ops.sample_paths``, which holds the formulas.

A program draws for a tile of places, in the order of memory. Where a tile begins with a block of
Philox counters, each thread computes a counter and all of its words are used; so tiles start
before the first place that is asked for, which ``lead`` counts.

Whole numbers decide everywhere but in the race, whose additions, products and divisions must
round one after the other: it is compiled without fused operations.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import on
from .philox import block_words, wide, words_of

# Places of a program, and times. The interpreter takes as long for an operation of any size.
PLACES, TIMES = (4096, 65536) if triton.knobs.runtime.interpret else (1024, 1024)
WARPS = 8  # with 4, registers would leave half of a processor's threads without any
_UPPER, _LOWER, _RACE = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)  # streams
WIDE = ["first", "total", "seed"]  # numbers of which each would else ask for a kernel of its own


@triton.jit
def _digits(start, seed, SIZE: tl.constexpr):
    """The 16 upper bits of the numbers of places from ``start`` on, 2 of each word."""
    words = block_words(start // 128, _UPPER, seed, SIZE // 2)
    return tl.reshape(tl.join(words & 0xFFFF, words >> 16), [SIZE]).to(tl.int64)


@triton.jit
def _tile(first, lead, E, SIZE: tl.constexpr):
    """The first place of a tile, all paths and edges, and where the tile begins in the result."""
    ahead = tl.program_id(0).to(tl.int64) * SIZE
    start = wide(first) + ahead
    along = (start % E).to(tl.int32) + tl.arange(0, SIZE)
    return start, start // E + along // E, along % E, ahead - lead


@triton.jit
def _inside(begin, total, SIZE: tl.constexpr):
    at = begin + tl.arange(0, SIZE)
    return (at >= 0) & (at < total)


@triton.jit
def _store(out, begin, total, values, SIZE: tl.constexpr):
    to = out + begin + tl.arange(0, SIZE)
    values = values.to(out.dtype.element_ty)
    # With a mask of unknown alignment a thread would store its values one by one.
    if (begin >= 0) & (begin + SIZE <= total):
        tl.store(to, values)
    else:
        tl.store(to, values, mask=_inside(begin, total, SIZE))


@triton.jit
def _reached(row, number, K, STEPS: tl.constexpr):
    """How many of a row's K - 1 rising numbers are at most ``number``: STEPS halvings."""
    count = tl.zeros(number.shape, tl.int32)
    for step in tl.static_range(STEPS):
        more = count + (1 << (STEPS - 1 - step))
        value = tl.load(row + more - 1, mask=more < K, other=1 << 62)
        count = tl.where(value <= number, more, count)
    return count


@triton.jit(do_not_specialize=WIDE)
def _choose_kernel(
    thresholds,
    out,
    first: tl.int64,
    lead,
    total: tl.int64,
    seed: tl.int64,
    E,
    K,
    STEPS: tl.constexpr,
    SIZE: tl.constexpr,
):
    start, _, edge, begin = _tile(first, lead, E, SIZE)
    row = thresholds + edge.to(tl.int64) * K
    number = _digits(start, wide(seed), SIZE) << 32
    option = _reached(row, number, K, STEPS)
    # The lower bits are drawn only where they could reach the next threshold.
    is_open = _inside(begin, total, SIZE) & (tl.load(row + option) <= (number | 0xFFFFFFFF))
    if tl.max(is_open.to(tl.int32), axis=0) > 0:
        place = start + tl.arange(0, SIZE)
        number = number | words_of(place, _LOWER, wide(seed)).to(tl.int64)
        option = _reached(row, number, K, STEPS)
    _store(out, begin, total, option, SIZE)


@triton.jit
def _step(ranks, path, edge, E, K):
    """How many options the edge of a place has, and its path's number in a block of as many."""
    options = tl.maximum(tl.load(ranks + edge.to(tl.int64) * K + K - 1), 1)
    return options, path % options


@triton.jit(do_not_specialize=WIDE)
def _fair_steps_kernel(
    ranks, taken, first: tl.int64, lead, total: tl.int64, seed: tl.int64, E, K, SIZE: tl.constexpr
):
    """What each step of Fisher & Yates exchanges with its own place."""
    start, path, edge, begin = _tile(first, lead, E, SIZE)
    options, i = _step(ranks, path, edge, E, K)
    left = options - i
    number = _digits(start, wide(seed), SIZE) << 32
    chosen = (number * left) >> 48
    is_open = _inside(begin, total, SIZE) & (chosen != ((number | 0xFFFFFFFF) * left) >> 48)
    if tl.max(is_open.to(tl.int32), axis=0) > 0:
        place = start + tl.arange(0, SIZE)
        number = number | words_of(place, _LOWER, wide(seed)).to(tl.int64)
        chosen = (number * left) >> 48
    _store(taken, begin, total, i + chosen, SIZE)


@triton.jit(do_not_specialize=WIDE)
def _fair_order_kernel(
    ranks,
    taken,
    out,
    first: tl.int64,
    before,
    total: tl.int64,
    E,
    K,
    STEPS: tl.constexpr,
    SIZE: tl.constexpr,
):
    """Follows what a step took back through the earlier steps to where it lay at first."""
    _, path, edge, begin = _tile(first, 0, E, SIZE)
    mask = _inside(begin, total, SIZE)
    _, i = _step(ranks, path, edge, E, K)
    i = tl.where(mask, i, 0).to(tl.int32)
    then = taken + before + begin + tl.arange(0, SIZE)
    rank = tl.load(then, mask=mask, other=0).to(tl.int32)
    for back in range(1, tl.max(i, axis=0) + 1):
        then -= E
        exchanged = tl.load(then, mask=back <= i, other=-1).to(tl.int32)
        rank = tl.where(exchanged == rank, i - back, rank)
    option = _reached(ranks + edge.to(tl.int64) * K, rank.to(tl.int64), K, STEPS)
    _store(out, begin, total, option, SIZE)


@triton.jit
def _exponentials(words):
    """-log((word + 1/2) / 2**32), with the roundings of the reference."""
    bits = (words.to(tl.float64) + 0.5).to(tl.int64, bitcast=True)
    # The number is mantissa x 2**(exponent - 1022), with the mantissa from 1/2 on.
    mantissa = ((bits & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000).to(tl.float64, bitcast=True)
    small = mantissa < 0.70710678118654752
    mantissa = tl.where(small, mantissa * 2.0, mantissa)
    e = ((bits >> 52) - small.to(tl.int64) - (1022 + 32)).to(tl.float64)
    z = (mantissa - 1.0) / (mantissa + 1.0)
    z2 = z * z
    total = tl.full(z.shape, 1.0 / 21, tl.float64)
    for term in tl.static_range(19, 0, -2):
        total = total * z2 + 1.0 / term
    return 0.0 - (e * 0.6931471805599453 + (z + z) * total)


@triton.jit
def _times(scales, words, edge, option, K):
    """When the options of a tile arrive; those beyond the last never do."""
    at = edge.to(tl.int64)[:, None] * K + option[None, :]
    scale = tl.load(scales + at, mask=option[None, :] < K, other=float("inf"))
    return _exponentials(words) * scale


@triton.jit
def _next(times, option, time, last):
    """The first to arrive after option ``last`` did at ``time``: when, and which column."""
    time, last = time[:, None], last[:, None]
    later = (times > time) | ((times == time) & (option[None, :] > last))
    waiting = tl.where(later, times, float("inf"))
    return tl.min(waiting, axis=1, return_indices=True)


@triton.jit(do_not_specialize=WIDE)
def _race_kernel(
    scales,
    out,
    first: tl.int64,
    lead,
    total: tl.int64,
    seed: tl.int64,
    E,
    K,
    k,
    COLUMNS: tl.constexpr,
    DRAWN: tl.constexpr,
    SIZE: tl.constexpr,
):
    """Draws k options for SIZE edges whose times fit in one tile."""
    start, _, edge, begin = _tile(first, lead, E, SIZE)
    option = tl.arange(0, COLUMNS)
    if COLUMNS == K:
        words = block_words(start * K // 64, _RACE, wide(seed), SIZE * COLUMNS)
        words = tl.reshape(words, [SIZE, COLUMNS])
    else:
        place = (start + tl.arange(0, SIZE))[:, None] * K + option[None, :]
        words = words_of(place, _RACE, wide(seed))
    times = _times(scales, words, edge, option, K)
    time = tl.full([SIZE], -1.0, tl.float64)
    last = tl.full([SIZE], -1, tl.int32)
    drawn = tl.zeros([SIZE, DRAWN], tl.int32)
    turns = tl.arange(0, DRAWN)[None, :]
    for turn in range(k):
        time, last = _next(times, option, time, last)
        drawn = tl.where(turns == turn, last[:, None], drawn)
    to = out + (begin + tl.arange(0, SIZE))[:, None] * k + turns
    mask = _inside(begin, total, SIZE)[:, None] & (turns < k)
    tl.store(to, drawn.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=WIDE)
def _long_race_kernel(
    scales, out, first: tl.int64, total: tl.int64, seed: tl.int64, E, K, k, COLUMNS: tl.constexpr
):
    """Draws k options for one edge, tile by tile, with the times computed again for each."""
    start, _, edge, at = _tile(first, 0, E, 1)
    time = tl.full([1], -1.0, tl.float64)
    last = tl.full([1], -1, tl.int32)
    for turn in range(k):
        best_time = tl.full([1], float("inf"), tl.float64)
        best = tl.zeros([1], tl.int32)
        for tile in range(0, K, COLUMNS):
            option = tile + tl.arange(0, COLUMNS)
            words = words_of(start * K + option, _RACE, wide(seed))[None, :]
            times = _times(scales, words, edge, option, K)
            found, which = _next(times, option, time, last)
            best = tl.where(found < best_time, tile + which, best)
            best_time = tl.minimum(found, best_time)
        time, last = best_time, best
        to = out + at * k + turn + tl.arange(0, 1)
        tl.store(to, last.to(out.dtype.element_ty))


def _check(table: Tensor, dtype: torch.dtype, n: int, offset: int) -> None:
    if (
        table.dim() != 2
        or table.numel() == 0
        or table.dtype != dtype
        or table.shape[1] > 32767
        or n < 0
        or not 0 <= offset < (1 << 63) // table.numel() - n - 128
    ):
        raise RuntimeError(
            "sample_paths got a table or numbers that its public function would not pass."
        )


def _empty(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    return table.new_empty(shape, dtype=torch.int8 if table.shape[1] <= 128 else torch.int16)


def _launch(
    kernel: Any,
    tables: tuple[Tensor, ...],
    start: int,
    whole: int,
    total: int,
    *rest: Any,
    **sizes: Any,
) -> None:
    """Launches a kernel from ``start`` rounded down to a whole number of blocks on."""
    lead = start % whole
    grid = (triton.cdiv(lead + total, sizes["SIZE"]),)
    with on(tables[0]):
        kernel[grid](*tables, start - lead, lead, total, *rest, num_warps=WARPS, **sizes)


def sample_paths_choose(thresholds: Tensor, n: int, seed: int, offset: int) -> Tensor:
    """Host function of the op ``nas_domains::sample_paths_choose``."""
    _check(thresholds, torch.int64, n, offset)
    E, K = thresholds.shape
    out = _empty(thresholds, (n, E))
    if n > 0:
        tables = thresholds.contiguous(), out
        steps = (K - 1).bit_length()
        _launch(
            _choose_kernel, tables, offset * E, 128, n * E, seed, E, K, STEPS=steps, SIZE=PLACES
        )
    return out


def sample_paths_fair(allowed: Tensor, n: int, seed: int, offset: int) -> Tensor:
    """Host function of the op ``nas_domains::sample_paths_fair``.

    The steps of a block of paths may have begun up to K - 1 paths before the first that is asked
    for, and are drawn from there on.
    """
    _check(allowed, torch.bool, n, offset)
    E, K = allowed.shape
    out = _empty(allowed, (n, E))
    if n > 0:
        before = min(offset, K - 1)
        ranks = allowed.cumsum(1).contiguous()
        taken = allowed.new_empty((before + n, E), dtype=torch.int16)
        start, total = (offset - before) * E, (before + n) * E
        _launch(_fair_steps_kernel, (ranks, taken), start, 128, total, seed, E, K, SIZE=PLACES)
        with on(out):
            _fair_order_kernel[(triton.cdiv(n * E, PLACES),)](
                ranks,
                taken,
                out,
                offset * E,
                before * E,
                n * E,
                E,
                K,
                STEPS=(K - 1).bit_length(),
                SIZE=PLACES,
                num_warps=WARPS,
            )
    return out


def sample_paths_race(scales: Tensor, n: int, k: int, seed: int, offset: int) -> Tensor:
    """Host function of the op ``nas_domains::sample_paths_race``."""
    _check(scales, torch.float64, n, offset)
    E, K = scales.shape
    if not 1 <= k <= K:
        raise RuntimeError("sample_paths: k must be 1 to the number of options.")
    out = _empty(scales, (n, E, k))
    columns = triton.next_power_of_2(K)
    scales, total = scales.contiguous(), n * E
    if n > 0 and columns <= TIMES:
        _launch(
            _race_kernel,
            (scales, out),
            offset * E,
            max(64 // K, 1) if columns == K else 1,
            total,
            seed,
            E,
            K,
            k,
            COLUMNS=columns,
            DRAWN=triton.next_power_of_2(k),
            SIZE=TIMES // columns,
            enable_fp_fusion=False,
        )
    elif n > 0:
        with on(out):
            _long_race_kernel[(total,)](
                scales,
                out,
                offset * E,
                total,
                seed,
                E,
                K,
                k,
                COLUMNS=TIMES // 2,
                num_warps=WARPS,
                enable_fp_fusion=False,
            )
    return out
