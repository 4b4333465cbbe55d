"""Triton kernels of ``nas_domains.ops.elastic_attention``: the attention of heads, both passes.

As in FlashAttention (Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691), scores stay
on the chip: the forward rescales what it has summed when it meets a larger one, the backward
makes them again from the sums that the forward kept. Queries, keys and values of all heads are
read where one matrix [B, T, 3n] holds them. float32 or half types, which are multiplied as such
and summed in float32.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.target_info import is_hip

from .launch import on

__all__ = ["backward", "forward"]


@triton.jit
def _rows(first, t, stride, length, head_dim, LANES: tl.constexpr):
    """The features of a head at tokens t, zeros behind the length."""
    d = tl.arange(0, LANES)
    mask = (t < length)[:, None] & (d < head_dim)[None, :]
    return tl.load(first + t.to(tl.int64)[:, None] * stride + d[None, :], mask=mask, other=0)


@triton.jit
def _keep(first, t, stride, tokens, value, head_dim, LANES: tl.constexpr):
    """Stores the features of a head at tokens t."""
    d = tl.arange(0, LANES)
    mask = (t < tokens)[:, None] & (d < head_dim)[None, :]
    to = first + t.to(tl.int64)[:, None] * stride + d[None, :]
    tl.store(to, value.to(first.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["tokens", "heads"])
def _attention_fwd_kernel(
    qkv,
    lengths,
    mixed,
    lse,
    tokens,
    heads,
    head_dim,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    PADDED: tl.constexpr,
):
    PRECISION: tl.constexpr = "ieee" if is_hip() else "tf32x3"
    item, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    length = tl.load(lengths + item).to(tl.int32) if PADDED else tokens
    n = heads * head_dim
    at = item.to(tl.int64) * tokens
    first = qkv + at * (3 * n) + head * head_dim
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    q = _rows(first, t, 3 * n, length, head_dim, LANES)
    most = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    out = tl.zeros([ROWS, LANES], tl.float32)
    for start in range(0, length, KEYS):
        s = start + tl.arange(0, KEYS)
        k = _rows(first + n, s, 3 * n, length, head_dim, LANES)
        v = _rows(first + 2 * n, s, 3 * n, length, head_dim, LANES)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        scores = tl.where((s < length)[None, :], scores, float("-inf"))
        now = tl.maximum(most, tl.max(scores, 1))
        p = tl.exp(scores - now[:, None])
        fade = tl.exp(most - now)
        total = total * fade + tl.sum(p, 1)
        out = out * fade[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
        most = now
    inside = t < length
    total = tl.where(inside, total, 1)
    out = tl.where(inside[:, None], out / total[:, None], 0)
    _keep(mixed + at * n + head * head_dim, t, n, tokens, out, head_dim, LANES)
    to = lse + at * heads + head + t.to(tl.int64) * heads
    tl.store(to, tl.where(inside, most + tl.log(total), 0), mask=t < tokens)


@triton.jit(do_not_specialize=["tokens", "heads"])
def _attention_dq_kernel(
    qkv,
    lengths,
    mixed,
    lse,
    back,
    dqkv,
    scale,
    tokens,
    heads,
    head_dim,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    PADDED: tl.constexpr,
):
    PRECISION: tl.constexpr = "ieee" if is_hip() else "tf32x3"
    item, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    length = tl.load(lengths + item).to(tl.int32) if PADDED else tokens
    n = heads * head_dim
    at = item.to(tl.int64) * tokens
    first = qkv + at * (3 * n) + head * head_dim
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    q = _rows(first, t, 3 * n, length, head_dim, LANES)
    dout = _rows(back + at * n + head * head_dim, t, n, length, head_dim, LANES)
    out = _rows(mixed + at * n + head * head_dim, t, n, length, head_dim, LANES)
    delta = tl.sum(dout.to(tl.float32) * out.to(tl.float32), 1)
    of_sums = lse + at * heads + head + t.to(tl.int64) * heads
    sums = tl.load(of_sums, mask=t < length, other=0)
    dq = tl.zeros([ROWS, LANES], tl.float32)
    for start in range(0, length, KEYS):
        s = start + tl.arange(0, KEYS)
        k = _rows(first + n, s, 3 * n, length, head_dim, LANES)
        v = _rows(first + 2 * n, s, 3 * n, length, head_dim, LANES)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        p = tl.where((s < length)[None, :], tl.exp(scores - sums[:, None]), 0)
        dp = tl.dot(dout, tl.trans(v), input_precision=PRECISION)
        ds = p * (dp - delta[:, None])
        dq += tl.dot(ds.to(k.dtype), k, input_precision=PRECISION)
    dq = tl.where((t < length)[:, None], dq * scale, 0)
    _keep(dqkv + at * (3 * n) + head * head_dim, t, 3 * n, tokens, dq, head_dim, LANES)


@triton.jit(do_not_specialize=["tokens", "heads"])
def _attention_dkv_kernel(
    qkv,
    lengths,
    mixed,
    lse,
    back,
    dqkv,
    tokens,
    heads,
    head_dim,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    PADDED: tl.constexpr,
):
    PRECISION: tl.constexpr = "ieee" if is_hip() else "tf32x3"
    item, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    length = tl.load(lengths + item).to(tl.int32) if PADDED else tokens
    n = heads * head_dim
    at = item.to(tl.int64) * tokens
    first = qkv + at * (3 * n) + head * head_dim
    s = tl.program_id(1) * KEYS + tl.arange(0, KEYS)
    k = _rows(first + n, s, 3 * n, length, head_dim, LANES)
    v = _rows(first + 2 * n, s, 3 * n, length, head_dim, LANES)
    dk = tl.zeros([KEYS, LANES], tl.float32)
    dv = tl.zeros([KEYS, LANES], tl.float32)
    for start in range(0, length, ROWS):
        t = start + tl.arange(0, ROWS)
        q = _rows(first, t, 3 * n, length, head_dim, LANES)
        dout = _rows(back + at * n + head * head_dim, t, n, length, head_dim, LANES)
        out = _rows(mixed + at * n + head * head_dim, t, n, length, head_dim, LANES)
        delta = tl.sum(dout.to(tl.float32) * out.to(tl.float32), 1)
        of_sums = lse + at * heads + head + t.to(tl.int64) * heads
        sums = tl.load(of_sums, mask=t < length, other=0)
        # Scores as [keys, queries]; what is behind the length has no gradient to give.
        scores = tl.dot(k, tl.trans(q), input_precision=PRECISION)
        p = tl.where((t < length)[None, :], tl.exp(scores - sums[None, :]), 0)
        dv += tl.dot(p.to(dout.dtype), dout, input_precision=PRECISION)
        dp = tl.dot(v, tl.trans(dout), input_precision=PRECISION)
        ds = p * (dp - delta[None, :])
        dk += tl.dot(ds.to(q.dtype), q, input_precision=PRECISION)
    inside = (s < length)[:, None]
    to = dqkv + at * (3 * n) + head * head_dim
    _keep(to + n, s, 3 * n, tokens, tl.where(inside, dk, 0), head_dim, LANES)
    _keep(to + 2 * n, s, 3 * n, tokens, tl.where(inside, dv, 0), head_dim, LANES)


def _constants(qkv: Tensor, heads: int, lengths: Tensor | None) -> dict[str, int | bool]:
    """What the kernels are compiled for. Blocks of a wide head in float32 would spill."""
    head_dim = qkv.shape[2] // (3 * heads)
    lanes = max(16, triton.next_power_of_2(head_dim))
    side = 64 if lanes * qkv.element_size() <= 128 else 32
    side = min(side, max(16, triton.next_power_of_2(qkv.shape[1])))
    return {
        "heads": heads,
        "head_dim": head_dim,
        "LANES": lanes,
        "ROWS": side,
        "KEYS": side,
        "PADDED": lengths is not None,
    }


def _within(lengths: Tensor | None, tokens: int) -> Tensor | None:
    """Lengths from 0 to the tokens that there are, one behind the other in memory."""
    return None if lengths is None else lengths.clamp(0, tokens).contiguous()


def forward(qkv: Tensor, heads: int, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """What the heads give, and the logarithms of the sums of their softmax.

    Args:
        qkv: Scaled queries, keys and values [B, T, 3n], contiguous.
        heads: Their number, of n / heads features each.
        lengths: Tokens [B] that are no padding, or None.

    Returns:
        [B, T, n] and, in float32, [B, T, heads]; zeros where there is padding.
    """
    items, tokens, width = qkv.shape
    mixed = qkv.new_empty((items, tokens, width // 3))
    lse = qkv.new_empty((items, tokens, heads), dtype=torch.float32)
    constants, lengths = _constants(qkv, heads, lengths), _within(lengths, tokens)
    grid = (items * heads, triton.cdiv(tokens, constants["ROWS"]))
    with on(qkv):
        _attention_fwd_kernel[grid](qkv, lengths, mixed, lse, tokens, **constants)
    return mixed, lse


def backward(
    qkv: Tensor, mixed: Tensor, lse: Tensor, back: Tensor, lengths: Tensor | None
) -> Tensor:
    """Gradient [B, T, 3n] of queries before they were scaled, keys and values.

    Args:
        qkv: As of the forward.
        mixed: What it gave.
        lse: Likewise.
        back: Gradient [B, T, n] of mixed, contiguous.
        lengths: As of the forward.
    """
    items, tokens, width = qkv.shape
    heads = lse.shape[2]
    dqkv = torch.empty_like(qkv)
    constants, lengths = _constants(qkv, heads, lengths), _within(lengths, tokens)
    scale = 1 / math.sqrt(width // (3 * heads))
    grid = (items * heads, triton.cdiv(tokens, constants["ROWS"]))
    with on(qkv):
        _attention_dq_kernel[grid](
            qkv, lengths, mixed, lse, back, dqkv, scale, tokens, **constants
        )
        _attention_dkv_kernel[grid](qkv, lengths, mixed, lse, back, dqkv, tokens, **constants)
    return dqkv
