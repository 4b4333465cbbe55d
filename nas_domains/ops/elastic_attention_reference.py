"""Elastic attention and its gradients in plain PyTorch; the op's file holds the formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..kernels.layout import computing_dtype

__all__ = [
    "Kept",
    "backward",
    "by_head",
    "formula",
    "forward",
    "gradients",
    "inside_of",
    "rows_of",
]

Kept = tuple[Tensor, Tensor, Tensor, Tensor]
"""The result [B, T, D], and for the backward [queries scaled, keys, values] [B, T, 3n], what the
heads give [B, T, n], and the logarithms of the sums of the softmax [B, T, heads]."""

Core = Callable[[Tensor, Tensor, Tensor, Tensor, int, Tensor | None], Tensor]
"""(qkv, mixed, lse, gradient of mixed, head_dim, lengths) -> gradient of unscaled qkv."""


def rows_of(heads: Sequence[int], head_dim: int, device: torch.device) -> slice | Tensor:
    """Where the heads' features lie among those of all; a slice, and so a view, if it can be."""
    first, count = heads[0], len(heads)
    if list(heads) == list(range(first, first + count)):
        return slice(first * head_dim, (first + count) * head_dim)
    # Made on the device, which then waits for nothing.
    places = ((h * head_dim, (h + 1) * head_dim) for h in heads)
    return torch.cat([torch.arange(*place, device=device) for place in places])


def by_head(y: Tensor, head_dim: int) -> Tensor:
    """[B, T, n] as [B, heads, T, head_dim]."""
    return y.reshape(*y.shape[:2], y.shape[2] // head_dim, head_dim).transpose(1, 2)


def inside_of(x: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Which tokens are no padding, [B, T, 1]."""
    if lengths is None:
        return None
    return (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]


def _projected(
    x: Tensor, w: Tensor, b: Tensor | None, rows: slice | Tensor, head_dim: int
) -> Tensor:
    """[B, heads, T, head_dim]."""
    y = linear(x, w[rows, : x.shape[2]], None if b is None else b[rows])
    return by_head(y, head_dim)


def formula(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    heads: Sequence[int],
    head_dim: int,
    lengths: Tensor | None,
) -> Kept:
    """The result, and what the forward keeps, in operations that can be differentiated."""
    rows, inside = rows_of(heads, head_dim, x.device), inside_of(x, lengths)
    if inside is not None:
        x = x.masked_fill(~inside, 0)  # whatever the padding holds, even what is no number
    q, k, v = (
        _projected(x, w, b, rows, head_dim) for w, b in zip(weights[:3], biases[:3], strict=True)
    )
    q = q * (1 / math.sqrt(head_dim))
    scores = q @ k.transpose(2, 3)
    if inside is not None:
        # Rows of padding attend to all, so that none is without a number; they are cleared below.
        scores = scores.masked_fill(~(inside.transpose(1, 2) | ~inside)[:, None], -torch.inf)
    lse = torch.logsumexp(scores, 3)
    mixed = ((scores - lse[..., None]).exp() @ v).transpose(1, 2).flatten(2)
    bias = biases[3]
    out = linear(
        mixed, weights[3][: x.shape[2], rows], None if bias is None else bias[: x.shape[2]]
    )
    qkv = torch.cat([t.transpose(1, 2).flatten(2) for t in (q, k, v)], 2)
    kept = (out, qkv, mixed, lse.transpose(1, 2))
    if inside is not None:
        kept = tuple(t.masked_fill(~inside, 0) for t in kept)  # type: ignore[assignment]
    return kept


def _wide(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [None if t is None else t.to(computing_dtype(t.dtype)) for t in tensors]


def forward(
    x: Tensor,
    wq: Tensor,
    wk: Tensor,
    wv: Tensor,
    wo: Tensor,
    bq: Tensor | None,
    bk: Tensor | None,
    bv: Tensor | None,
    bo: Tensor | None,
    heads: list[int],
    head_dim: int,
    lengths: Tensor | None,
) -> Kept:
    """The op ``elastic_attention_fwd``."""
    wide, *rest = _wide([x, wq, wk, wv, wo, bq, bk, bv, bo])
    assert wide is not None
    weights = [w for w in rest[:4] if w is not None]
    with torch.autocast(x.device.type, enabled=False):
        out, qkv, mixed, lse = formula(wide, weights, rest[4:], heads, head_dim, lengths)
    half = [t.to(x.dtype).contiguous() for t in (out, qkv, mixed)]
    return half[0], half[1], half[2], lse.contiguous()


def backward(
    g: Tensor,
    x: Tensor,
    wq: Tensor,
    wk: Tensor,
    wv: Tensor,
    wo: Tensor,
    qkv: Tensor,
    mixed: Tensor,
    lse: Tensor,
    heads: list[int],
    head_dim: int,
    lengths: Tensor | None,
    needs: list[int],
) -> list[Tensor]:
    """The op ``elastic_attention_bwd``."""
    acc = computing_dtype(x.dtype)
    wide = [t.to(acc) for t in (g, x, wq, wk, wv, wo, qkv, mixed)]
    found = gradients(_core, wide[:2], wide[2:6], wide[6:], lse, heads, head_dim, lengths, needs)
    return [grad.to(x.dtype) for grad in found]


def gradients(
    core: Core,
    pair: Sequence[Tensor],
    weights: Sequence[Tensor],
    kept: Sequence[Tensor],
    lse: Tensor,
    heads: list[int],
    head_dim: int,
    lengths: Tensor | None,
    needs: list[int],
) -> list[Tensor]:
    """The gradients asked for, all of one dtype, from ``(g, x)`` and ``(qkv, mixed)``."""
    # Autocast is still on in a backward that runs inside of it.
    with torch.autocast(pair[1].device.type, enabled=False):
        (g, x), (qkv, mixed) = pair, kept
        if g.shape != x.shape:
            raise RuntimeError("An op needs tensors of one shape.")
        inside = inside_of(x, lengths)
        if inside is not None:
            g, x = g.masked_fill(~inside, 0), x.masked_fill(~inside, 0)
        width, rows = x.shape[2], rows_of(heads, head_dim, x.device)
        flat, tokens = g.flatten(0, 1), x.flatten(0, 1)
        parts: list[Tensor] = []
        if any(i not in (4, 8) for i in needs):
            back = g @ weights[3][:width, rows]
            dqkv = core(qkv, mixed, lse, back, head_dim, lengths)
            parts = list(dqkv.flatten(0, 1).chunk(3, 1))
        results = []
        for i in needs:
            if i == 0:
                dx = sum(d @ w[rows, :width] for d, w in zip(parts, weights, strict=False))
                assert isinstance(dx, Tensor)
                results.append(dx.view(x.shape))
                continue
            weight = weights[(i - 1) % 4]
            grad = weight.new_zeros(weight.shape if i < 5 else weight.shape[:1])
            if i < 4:
                grad[rows, :width] = parts[i - 1].t() @ tokens
            elif i == 4:
                grad[:width, rows] = flat.t() @ mixed.flatten(0, 1)
            elif i < 8:
                grad[rows] = parts[i - 5].sum(0)
            else:
                grad[:width] = flat.sum(0)
            results.append(grad)
        return results


def _core(
    qkv: Tensor,
    mixed: Tensor,
    lse: Tensor,
    back: Tensor,
    head_dim: int,
    lengths: Tensor | None,
) -> Tensor:
    q, k, v = (by_head(t, head_dim) for t in qkv.chunk(3, 2))
    dout = by_head(back, head_dim)
    p = (q @ k.transpose(2, 3) - lse.transpose(1, 2)[..., None]).exp()
    inside = inside_of(qkv, lengths)
    if inside is not None:
        p = p.masked_fill(~inside.transpose(1, 2)[:, None], 0)
    delta = by_head(back * mixed, head_dim).sum(3)
    ds = p * (dout @ v.transpose(2, 3) - delta[..., None])
    grads = (ds @ k / math.sqrt(head_dim), ds.transpose(2, 3) @ q, p.transpose(2, 3) @ dout)
    return torch.cat([t.transpose(1, 2).flatten(2) for t in grads], 2)
