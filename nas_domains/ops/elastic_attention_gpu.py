"""Elastic attention on a GPU: torch's matrix products on views of the weights, Triton between.

Products run in the dtype of the tensors and sum in float32, as torch's own do. float64 is left to
the reference.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..kernels import elastic_attention as kernels
from . import elastic_attention_reference as reference
from .elastic_attention_reference import Kept, inside_of, rows_of

__all__ = ["backward", "forward"]


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
    """Host function of the op ``nas_domains::elastic_attention_fwd``."""
    if x.dtype == torch.float64 or x.numel() == 0:
        return reference.forward(x, wq, wk, wv, wo, bq, bk, bv, bo, heads, head_dim, lengths)
    items, tokens, width = x.shape
    n, rows, inside = len(heads) * head_dim, rows_of(heads, head_dim, x.device), None
    flat = x.reshape(items * tokens, width)
    qkv = x.new_empty((items * tokens, 3 * n))
    scales = (1 / math.sqrt(head_dim), 1.0, 1.0)
    for part, w, b, scale in zip(qkv.chunk(3, 1), (wq, wk, wv), (bq, bk, bv), scales, strict=True):
        _product(flat, w[rows, :width], None if b is None else b[rows], scale, part)
    qkv = qkv.view(items, tokens, 3 * n)
    if lengths is not None:
        inside = inside_of(x, lengths)
        assert inside is not None
        qkv.masked_fill_(~inside, 0)
    mixed, lse = kernels.forward(qkv, len(heads), lengths)
    out = x.new_empty((items * tokens, width))
    _product(mixed.view(-1, n), wo[:width, rows], None if bo is None else bo[:width], 1.0, out)
    out = out.view(x.shape)
    if inside is not None:
        out.masked_fill_(~inside, 0)
    return out, qkv, mixed, lse


def _product(x: Tensor, w: Tensor, b: Tensor | None, scale: float, out: Tensor) -> None:
    """out = (x w^T + b) scale."""
    if b is None:
        torch.mm(x, w.t(), out=out)
        if scale != 1:
            out.mul_(scale)
    else:
        torch.addmm(b, x, w.t(), beta=scale, alpha=scale, out=out)


def backward(g: Tensor, x: Tensor, *rest: Any) -> list[Tensor]:
    """Host function of the op ``nas_domains::elastic_attention_bwd``."""
    if x.dtype == torch.float64 or x.numel() == 0:
        return reference.backward(g, x, *rest)
    wq, wk, wv, wo, qkv, mixed, lse, heads, head_dim, lengths, needs = rest
    return reference.gradients(
        _core, (g.to(x.dtype), x), (wq, wk, wv, wo), (qkv, mixed), lse, heads, head_dim, lengths,
        needs,
    )  # fmt: skip


def _core(
    qkv: Tensor,
    mixed: Tensor,
    lse: Tensor,
    back: Tensor,
    head_dim: int,
    lengths: Tensor | None,
) -> Tensor:
    dqkv: Tensor = kernels.backward(qkv, mixed, lse, back.contiguous(), lengths)
    return dqkv
