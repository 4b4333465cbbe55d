"""The samples of the op elastic_attention: the first heads, and some heads of padded items."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..ops.elastic_attention_reference import by_head
from .op_sample import OpCase, OpSample, arrange

__all__ = ["ELASTIC_ATTENTION", "ELASTIC_ATTENTION_PADDED"]

MOST_TOKENS = 160
Setting = tuple[int, list[int], Tensor | None]


def _inputs(padded: bool, case: OpCase, dtype: torch.dtype, seed: int) -> list[Tensor]:
    """x, four weights and, where nothing is padded, four biases.

    The last length is that of the tokens, the first the items', those between give the heads;
    ``count`` is the features of a head.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = case.shape if len(case.shape) > 1 else (2, *(case.shape or (1,)))
    head_dim, width = case.count, case.count + 2
    inner, features = (1 + math.prod(shape[1:-1]) % 3) * head_dim, width + 1
    tokens = min(shape[-1], MOST_TOKENS)
    shapes: list[tuple[int, ...]] = [(shape[0], tokens, width), *[(inner, features)] * 3]
    shapes += [(features, inner)]
    if not padded:
        shapes += [(inner,)] * 3 + [(features,)]

    def normal(i: int) -> Tensor:
        x = torch.randn(shapes[i], generator=generator, dtype=torch.float64).to(dtype)
        return arrange(x, case.layouts[i % len(case.layouts)])

    return [normal(i) for i in range(len(shapes))]


def _setting(padded: bool, x: Tensor, wq: Tensor) -> Setting:
    """Features of a head, the heads that run, and the lengths."""
    head_dim = x.shape[2] - 2
    have = wq.shape[0] // head_dim
    if not padded:
        return head_dim, list(range((have + 1) // 2)), None
    items, tokens = x.shape[:2]
    lengths = torch.tensor([(5 * i + 3) % (tokens + 1) for i in range(items)], dtype=torch.long)
    return head_dim, list(range(have))[::-2], lengths.to(x.device)


def _call(padded: bool, *tensors: Tensor) -> Tensor:
    x, *rest = tensors
    head_dim, heads, lengths = _setting(padded, x, rest[0])
    return ops.elastic_attention(
        x, rest[:4], rest[4:] or None, head_dim=head_dim, heads=heads, lengths=lengths
    )


def _formula(padded: bool, *tensors: Tensor) -> Tensor:
    """The layer with these heads alone: weights sliced and concatenated, torch's softmax."""
    x, *rest = tensors
    head_dim, heads, lengths = _setting(padded, x, rest[0])
    width = x.shape[2]
    q, k, v, o = _sliced(rest[:4], heads, head_dim, width)
    biases = _sliced_biases(rest[4:], heads, head_dim, width, o)
    apart = [by_head(x @ w.t() + b, head_dim) for w, b in zip((q, k, v), biases, strict=False)]
    scores = apart[0] @ apart[1].transpose(2, 3) / math.sqrt(head_dim)
    inside = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if lengths is not None:
        inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        scores = scores.masked_fill(~inside[:, None, None] & inside[:, None, :, None], -torch.inf)
    mixed = (scores.softmax(3) @ apart[2]).transpose(1, 2).flatten(2)
    out: Tensor = mixed @ o.t() + biases[3]
    return out.masked_fill(~inside[..., None], 0)


def _sliced(
    weights: Sequence[Tensor], heads: Sequence[int], head_dim: int, width: int
) -> list[Tensor]:
    parts = [slice(h * head_dim, (h + 1) * head_dim) for h in heads]
    own = [torch.cat([w[part, :width] for part in parts]) for w in weights[:3]]
    return [*own, torch.cat([weights[3][:width, part] for part in parts], 1)]


def _sliced_biases(
    biases: Sequence[Tensor], heads: Sequence[int], head_dim: int, width: int, like: Tensor
) -> list[Tensor]:
    if not biases:
        return [like.new_zeros(())] * 4
    own = [torch.cat([b[h * head_dim : (h + 1) * head_dim] for h in heads]) for b in biases[:3]]
    return [*own, biases[3][:width]]


def _sizes(padded: bool, g: Tensor, *tensors: Tensor) -> list[Tensor]:
    """The absolute terms: those of the scores also count as what they change the softmax by."""
    x, *rest = tensors
    head_dim, heads, lengths = _setting(padded, x, rest[0])
    scale = 1 / math.sqrt(head_dim)
    leaves = [t.abs() for t in rest]
    exact = _probabilities(padded, *tensors)
    x, g = x.abs(), g.abs()
    if lengths is not None:
        outside = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
        x, g = (t.masked_fill(outside[..., None], 0) for t in (x, g))
    q, k, v, o = _sliced(leaves[:4], heads, head_dim, x.shape[2])
    biases = _sliced_biases(leaves[4:], heads, head_dim, x.shape[2], o)

    def apart(y: Tensor) -> Tensor:
        return by_head(y, head_dim)

    def joined(y: Tensor) -> Tensor:
        return y.transpose(1, 2).flatten(2)

    queries, keys, values = (apart(x @ w.t() + b) for w, b in zip((q, k, v), biases, strict=False))
    scores = scale * queries @ keys.transpose(2, 3)
    p = exact * (1 + scores + (exact * scores).sum(3, keepdim=True))
    mixed = joined(p @ values)
    back = g @ o
    dp = apart(back) @ values.transpose(2, 3)
    ds = p * (dp + (p * dp).sum(3, keepdim=True))
    parts = [
        joined(scale * ds @ keys),
        joined(scale * ds.transpose(2, 3) @ queries),
        joined(p.transpose(2, 3) @ apart(back)),
    ]
    dx = sum((d @ w for d, w in zip(parts, (q, k, v), strict=True)), torch.zeros_like(x))
    dweights = [d.flatten(0, 1).t() @ x.flatten(0, 1) for d in parts]
    dweights.append(g.flatten(0, 1).t() @ mixed.flatten(0, 1))
    sizes = [mixed @ o.t() + biases[3], dx, *dweights]
    return sizes if padded else [*sizes, *(d.sum((0, 1)) for d in (*parts, g))]


def _probabilities(padded: bool, *tensors: Tensor) -> Tensor:
    """The softmax [B, heads, T, T] itself, zero where there is padding."""
    x, *rest = tensors
    head_dim, heads, lengths = _setting(padded, x, rest[0])
    q, k, _, o = _sliced(rest[:4], heads, head_dim, x.shape[2])
    biases = _sliced_biases(rest[4:], heads, head_dim, x.shape[2], o)
    queries, keys = (
        by_head(x @ w.t() + b, head_dim) for w, b in zip((q, k), biases, strict=False)
    )
    scores: Tensor = queries @ keys.transpose(2, 3) / math.sqrt(head_dim)
    if lengths is None:
        return scores.softmax(3)
    inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    both = (inside[:, None] & inside[:, :, None])[:, None]
    return scores.masked_fill(~both, -torch.inf).softmax(3).nan_to_num(0)


def _raw(padded: bool, tensors: Sequence[Tensor]) -> list[tuple[Any, tuple[Any, ...]]]:
    fwd = torch.ops.nas_domains.elastic_attention_fwd.default
    bwd = torch.ops.nas_domains.elastic_attention_bwd.default
    head_dim, heads, lengths = _setting(padded, tensors[0], tensors[1])
    biases: list[Tensor | None] = [*tensors[5:]] or [None] * 4
    plain = [t.detach() for t in tensors]
    last = [None if b is None else b.detach() for b in biases]
    _, qkv, mixed, lse = fwd(*plain[:5], *last, heads, head_dim, lengths)
    kept = (torch.ones_like(plain[0]), *plain[:5], qkv, mixed, lse, heads, head_dim, lengths)
    return [
        (fwd, (*tensors[:5], *biases, heads, head_dim, lengths)),
        *((bwd, (*kept, needs)) for needs in (list(range(9)), [0], [2, 8], [4], [])),
    ]


_x = torch.zeros(2, 3, 4)
_w = [torch.zeros(6, 4)] * 3 + [torch.zeros(4, 6)]
_b = [torch.zeros(6)] * 3 + [torch.zeros(4)]


def _f(x: Tensor = _x, weights: Any = _w, biases: Any = _b, heads: Any = 2, **rest: Any) -> object:
    return ops.elastic_attention(x, weights, biases, heads=heads, **({"head_dim": 2} | rest))


def _with(values: list[Tensor], i: int, value: Tensor) -> list[Tensor]:
    return [*values[:i], value, *values[i + 1 :]]


_CASES = (
    *(OpCase((2, n), count) for n, count in ((1, 1), (2, 4), (7, 3), (9, 8), (16, 16), (33, 17))),
    OpCase((5, 2, 3), 2),
    OpCase((3, 2, 40), 32),
    OpCase((2, 150), 5),
    OpCase((40, 2, 13), 4),
    OpCase((2, 0), 2),
    OpCase((0, 3), 2),
    OpCase((2, 2, 17), 6, ("transposed", "sliced", "expanded")),
)

_ERRORS: tuple[tuple[Callable[[], object], type[Exception], str], ...] = (
    (lambda: _f(weights=_w[:3]), ValueError, "got 3 weights"),
    (lambda: _f(_x[0]), ValueError, r"\[B, T, D\]"),
    (lambda: _f(head_dim=4), ValueError, "head_dim is 4"),
    (lambda: _f(head_dim=0), ValueError, "head_dim is 0"),
    (lambda: _f(heads=4), ValueError, "heads is 4; name 1 to 3"),
    (lambda: _f(heads=0), ValueError, "heads is 0"),
    (lambda: _f(heads=[1, 1]), ValueError, r"heads is \[1, 1\]"),
    (lambda: _f(heads=[-1]), ValueError, r"heads is \[-1\]"),
    (lambda: _f(_x.int()), TypeError, "x is torch.int32"),
    (lambda: _f(weights=_with(_w, 1, _w[1].long())), TypeError, r"weights\[1\] is torch.int64"),
    (lambda: _f(weights=_with(_w, 2, _w[3])), ValueError, r"weights\[2\] has shape \(4, 6\)"),
    (lambda: _f(weights=_with(_w, 3, _w[0].t()[:3])), ValueError, r"weights\[0\] has shape"),
    (lambda: _f(biases=_with(_b, 3, _b[0])), ValueError, r"biases\[3\] has shape \(6,\)"),
    (lambda: _f(biases=_with(_b, 0, _b[0].to("meta"))), ValueError, r"biases\[0\] is on meta"),
    (lambda: _f(torch.zeros(2, 3, 5)), ValueError, "x has 5 features and the weights 4"),
    (lambda: _f(lengths=torch.ones(2)), TypeError, "lengths is torch.float32"),
    (lambda: _f(lengths=torch.ones(3).long()), ValueError, r"lengths has shape \(3,\)"),
    (
        lambda: torch.ops.nas_domains.elastic_attention_bwd(
            _x[:1], _x, *_w, _x, _x, _x, [0], 2, None, [0]
        ),
        RuntimeError,
        "tensors of one shape",
    ),
)


def _sample(padded: bool, name: str) -> OpSample:
    return OpSample(
        name=name,
        call=lambda *tensors: _call(padded, *tensors),
        formula=lambda *tensors: _formula(padded, *tensors),
        inputs=lambda case, dtype, seed: _inputs(padded, case, dtype, seed),
        raw=lambda tensors: _raw(padded, tensors),
        cases=_CASES,
        errors=() if padded else _ERRORS,
        sizes=lambda g, *tensors: _sizes(padded, g, *tensors),
    )


ELASTIC_ATTENTION = _sample(False, "elastic_attention")
ELASTIC_ATTENTION_PADDED = _sample(True, "elastic_attention of padded items")
