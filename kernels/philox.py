"""Words of Philox 4x32-10 in Triton kernels, and those of ``nas_domains.ops.sample_paths`` alone.

Which counters a block has, and the order of its words, stand with that op.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor, int64

from .launch import on

__all__ = ["block_words", "philox", "wide", "words_of"]


@triton.jit
def wide(number):
    """An argument as int64."""
    # The interpreter keeps an argument of 2**31 to 2**32 in 32 bits.
    return number.to(tl.int64) + tl.cast(0, tl.int64)


@triton.jit
def _philox(counter, STREAM: tl.constexpr, seed):
    low, high = counter.to(tl.uint32), (counter >> 32).to(tl.uint32)
    return tl.philox(seed, low, high, tl.zeros_like(low) + STREAM, tl.zeros_like(low))


@triton.jit
def words_of(place, STREAM: tl.constexpr, seed):
    """The words of any places, each from a counter of its own."""
    w0, w1, w2, w3 = _philox((place >> 6) * 16 + (place & 15), STREAM, seed)
    j = (place >> 4) & 3
    return tl.where(j < 2, tl.where(j == 0, w0, w1), tl.where(j == 2, w2, w3))


@triton.jit
def block_words(block, STREAM: tl.constexpr, seed, COUNT: tl.constexpr):
    """COUNT words in order from the first of a block on."""
    w0, w1, w2, w3 = _philox(block * 16 + tl.arange(0, COUNT // 4), STREAM, seed)
    words = tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), [COUNT // 64, 16, 4])
    return tl.reshape(tl.permute(words, [0, 2, 1]), [COUNT])


@triton.jit(do_not_specialize=["low", "high", "seed"])
def _philox_kernel(out, low: tl.int64, high: tl.int64, seed: tl.int64, blocks, SIZE: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    mask = i < blocks * 16
    low = wide(low).to(tl.uint64)
    counter = low + i.to(tl.uint64)
    upper = wide(high).to(tl.uint64) + (counter < low).to(tl.uint64)
    w0, w1, w2, w3 = tl.philox(
        wide(seed),
        counter.to(tl.uint32),
        (counter >> 32).to(tl.uint32),
        upper.to(tl.uint32),
        (upper >> 32).to(tl.uint32),
    )
    to = out + (i // 16) * 64 + i % 16
    tl.store(to, w0.to(tl.int64), mask=mask)
    tl.store(to + 16, w1.to(tl.int64), mask=mask)
    tl.store(to + 32, w2.to(tl.int64), mask=mask)
    tl.store(to + 48, w3.to(tl.int64), mask=mask)


def philox(like: Tensor, seed: int, low: int, high: int, blocks: int) -> Tensor:
    """Host function of the op ``nas_domains::philox``."""
    if blocks < 0:
        raise RuntimeError("philox: blocks must be 0 or more.")
    out = like.new_empty((blocks, 64), dtype=int64)
    if blocks > 0:
        with on(out):
            _philox_kernel[(triton.cdiv(16 * blocks, 128),)](
                out, low, high, seed, blocks, SIZE=128
            )
    return out
