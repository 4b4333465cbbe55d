"""Benchmark of attention with some of a layer's heads, forward and backward, against its peers.

Peers: the weights of the heads sliced and concatenated, with torch's fused attention and with its
single steps; views of the weights; all heads with a mask; and the full layer, for the proportion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from ..ops import elastic_attention
from ..ops.elastic_attention_reference import by_head
from ..testing.op_samples import ELASTIC_ATTENTION
from .harness import arithmetic_rate, compare, peak_bytes

__all__ = ["SAMPLE", "measure"]

SAMPLE = ELASTIC_ATTENTION
# Items, tokens, heads, features of a head: an encoder of MiniLM's width.
SIZES = (64, 128, 12, 32)
KEPT = (3, 6, 9)

Layer = tuple[Tensor, list[Tensor], list[Tensor]]


def measure(rounds: int, device: str) -> list[dict[str, Any]]:
    """Returns one record for each number of heads: variants with times and memory, and the floor.

    The floor is the time of the multiplications and additions that remain if nothing is computed
    twice but the scores, at the measured rate of arithmetic.
    """
    rate = arithmetic_rate(device)
    return [_measure_case(kept, rounds, device, rate) for kept in KEPT]


def _layer(device: str) -> Layer:
    items, tokens, heads, head_dim = SIZES
    width = heads * head_dim
    g = torch.Generator().manual_seed(0)
    shapes = [(items, tokens, width), *[(width, width)] * 4, *[(width,)] * 4]
    scales = [1.0, *[width**-0.5] * 4, *[0.1] * 4]
    x, *rest = (
        (torch.randn(shape, generator=g) * scale).to(device).requires_grad_()
        for shape, scale in zip(shapes, scales, strict=True)
    )
    return x, rest[:4], rest[4:]


def _heads(y: Tensor) -> Tensor:
    return by_head(y, SIZES[3])


def _fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _stepwise(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(2, 3) * SIZES[3] ** -0.5
    out: Tensor = scores.softmax(3) @ v
    return out.transpose(1, 2).flatten(2)


def _attend(
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    attention: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    q, k, v = (_heads(linear(x, w, b)) for w, b in zip(weights[:3], biases[:3], strict=True))
    return linear(attention(q, k, v), weights[3], biases[3])


def _sliced(
    kept: int, attention: Callable[[Tensor, Tensor, Tensor], Tensor], layer: Layer
) -> Tensor:
    x, weights, biases = layer
    parts = [slice(h * SIZES[3], (h + 1) * SIZES[3]) for h in range(kept)]
    own = [torch.cat([w[p] for p in parts]) for w in weights[:3]]
    own.append(torch.cat([weights[3][:, p] for p in parts], 1))
    own_biases = [torch.cat([b[p] for p in parts]) for b in biases[:3]]
    return _attend(x, own, [*own_biases, biases[3]], attention)


def _viewed(kept: int, layer: Layer) -> Tensor:
    x, weights, biases = layer
    n = kept * SIZES[3]
    own = [*(w[:n] for w in weights[:3]), weights[3][:, :n]]
    return _attend(x, own, [*(b[:n] for b in biases[:3]), biases[3]], _fused)


def _masked(kept: int, layer: Layer) -> Tensor:
    x, weights, biases = layer
    mask = (torch.arange(SIZES[2], device=x.device) < kept).to(x.dtype)
    mask = mask.repeat_interleave(SIZES[3])
    return _attend(x, weights, biases, lambda q, k, v: _fused(q, k, v) * mask)


def _measure_case(kept: int, rounds: int, device: str, rate: float) -> dict[str, Any]:
    layer = _layer(device)
    x, weights, biases = layer
    leaves = [x, *weights, *biases]
    g = torch.randn_like(x)

    def own(heads: int) -> Tensor:
        return elastic_attention(x, weights, biases, head_dim=SIZES[3], heads=heads)

    torch.compiler.reset()
    calls: dict[str, Callable[[], Tensor]] = {
        "nas_domains": lambda: own(kept),
        "slice-and-cat": lambda: _sliced(kept, _fused, layer),
        "cat, no sdpa": lambda: _sliced(kept, _stepwise, layer),
        "views": lambda: _viewed(kept, layer),
        "masking": lambda: _masked(kept, layer),
    }
    compiled = {
        "cat compiled": torch.compile(calls["slice-and-cat"], fullgraph=True),
        "mask compiled": torch.compile(calls["masking"], fullgraph=True),
    }
    calls |= compiled
    calls |= {"all heads": lambda: own(SIZES[2]), "all, torch": lambda: _masked(SIZES[2], layer)}

    def step(call: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(call(), leaves, g)

    variants = {name: step(call) for name, call in calls.items()}
    rows = compare(variants, rounds, warmup=2, device=device)
    return {
        "case": f"{kept} of {SIZES[2]} heads of {SIZES[3]}, {SIZES[0]}x{SIZES[1]} tokens, float32",
        "bytes": x.element_size() * (4 * x.numel() + 2 * sum(w.numel() for w in weights)),
        "floor": _flops(kept) / rate,
        "rows": [
            vars(row) | {"memory": peak_bytes(variants[row.variant], device)} for row in rows
        ],
    }


def _flops(kept: int) -> int:
    """Of three times four projections, and of two products forward and five backward of heads."""
    items, tokens, heads, head_dim = SIZES
    projections = 3 * 4 * 2 * tokens * heads * head_dim * kept * head_dim
    return items * (projections + 7 * 2 * kept * tokens * tokens * head_dim)
