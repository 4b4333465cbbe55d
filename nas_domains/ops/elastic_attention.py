r"""Self-attention of some of the heads that a layer's weights hold.

.. math::
    out = \sum_{h \in heads} \mathrm{softmax}\!\left(\frac{Q_h K_h^T}{\sqrt{d}}\right) V_h O_h^T +
    b_o, \qquad Q_h = x W^Q_h{}^T + b^Q_h

(and likewise K, V), Vaswani et al. 2017 (arXiv:1706.03762), where ``W_h`` are the rows of one head
in a weight of all heads, and ``O_h`` its columns in the output weight. The weights are read and
their gradients written where they lie: nothing is sliced or concatenated. The scores of the
softmax are not kept but computed again by the backward (Dao et al. 2022, arXiv:2205.14135). Half
types are computed in float32 on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..kernels.layout import computing_dtype
from . import elastic_attention_reference as reference
from .backend import define
from .elastic_attention_reference import Kept

__all__ = ["elastic_attention"]


def elastic_attention(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None = None,
    *,
    head_dim: int,
    heads: int | Sequence[int],
    lengths: Tensor | None = None,
) -> Tensor:
    """Returns the self-attention of ``heads``, as a layer with these heads alone would give it.

    Differentiable in x, weights and biases, any number of times (a second derivative is computed
    by the plain PyTorch formula, with the memory that it needs). No gradient is computed that is
    not asked for; the rest of a weight has the gradient zero.

    Args:
        x: Tokens [B, T, D] of any real floating dtype.
        weights: The four weights as ``nn.Linear`` holds them: of queries, keys and values
            [H * head_dim, F] and of the output [F, H * head_dim], with F >= D features, of which
            the first D are used.
        biases: Theirs, [H * head_dim] three times and [F], each or all of them None.
        head_dim: Features of a head.
        heads: How many of the H heads run, the first ones; or which, each once, in any order.
        lengths: Tokens [B] of each item, the rest being padding behind them: it is not attended
            to, its output is zero, and no time is spent on it. None where there is no padding.

    Returns:
        [B, T, D] in the widest dtype of the arguments.

    Raises:
        TypeError: A tensor is not of a real floating dtype, or lengths not of whole numbers.
        ValueError: Shapes or devices do not fit, or a head is not there or named twice.
    """
    biases = [None] * 4 if biases is None else list(biases)
    _check(x, weights, biases, head_dim)
    have = weights[0].shape[0] // head_dim
    which = list(range(heads)) if isinstance(heads, int) else [int(h) for h in heads]
    if not which or len(set(which)) < len(which) or min(which) < 0 or max(which) >= have:
        raise ValueError(
            f"elastic_attention: heads is {heads}; name 1 to {have} heads, or how many of them."
        )
    if lengths is not None:
        if lengths.dtype.is_floating_point or lengths.dtype == torch.bool:
            raise TypeError(f"elastic_attention: lengths is {lengths.dtype}; use whole numbers.")
        if lengths.shape != x.shape[:1] or lengths.device != x.device:
            raise ValueError(
                f"elastic_attention: lengths has shape {tuple(lengths.shape)} on "
                f"{lengths.device}; give it [{x.shape[0]}] on {x.device}."
            )
    given = [t for t in (*weights, *biases) if t is not None]
    dtype = x.dtype
    for t in given:
        dtype = torch.promote_types(dtype, t.dtype)
    tensors = [None if t is None else t.to(dtype) for t in (x, *weights, *biases)]
    out: Tensor = torch.ops.nas_domains.elastic_attention_fwd(*tensors, which, head_dim, lengths)[
        0
    ]
    return out


def _check(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], head_dim: int
) -> None:
    if len(weights) != 4 or len(biases) != 4:
        raise ValueError(
            f"elastic_attention got {len(weights)} weights and {len(biases)} biases; give it "
            "those of queries, keys, values and output."
        )
    if x.dim() != 3 or x.shape[2] == 0:
        raise ValueError(
            f"elastic_attention: x has shape {tuple(x.shape)}; give it tokens [B, T, D]."
        )
    width = weights[0].shape[0]
    if head_dim < 1 or width == 0 or width % head_dim:
        raise ValueError(
            f"elastic_attention: head_dim is {head_dim} and weights[0] has {width} rows; give it "
            "rows for whole heads."
        )
    named = [("x", x), *((f"weights[{i}]", w) for i, w in enumerate(weights))]
    named += [(f"biases[{i}]", b) for i, b in enumerate(biases) if b is not None]
    for name, t in named:
        if not t.dtype.is_floating_point:
            raise TypeError(
                f"elastic_attention: {name} is {t.dtype}; convert it to a floating dtype."
            )
        if t.device != x.device:
            raise ValueError(
                f"elastic_attention: {name} is on {t.device} and x on {x.device}; move them to "
                "one device."
            )
    features = weights[3].shape[0]
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        shape = (width, features) if i < 3 else (features, width)
        if w.shape != shape:
            raise ValueError(
                f"elastic_attention: weights[{i}] has shape {tuple(w.shape)}; give it {shape}."
            )
        if b is not None and b.shape != shape[:1]:
            raise ValueError(
                f"elastic_attention: biases[{i}] has shape {tuple(b.shape)}; give it {shape[:1]}."
            )
    if features < x.shape[2]:
        raise ValueError(
            f"elastic_attention: x has {x.shape[2]} features and the weights {features}; give it "
            "no more than those."
        )


def _fwd_fake(x: Tensor, *rest: Any) -> Kept:
    heads, head_dim, _ = rest[8:]
    n, some = len(heads) * head_dim, x.shape[:2]
    lse = x.new_empty((*some, len(heads)), dtype=computing_dtype(x.dtype))
    return x.new_empty(x.shape), x.new_empty((*some, 3 * n)), x.new_empty((*some, n)), lse


def _bwd_fake(g: Tensor, x: Tensor, *rest: Any) -> list[Tensor]:
    weights, needs = rest[:4], rest[-1]
    shapes = [x.shape, *(w.shape for w in weights), *(w.shape[:1] for w in weights)]
    return [x.new_empty(shapes[i]) for i in needs]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Kept) -> None:
    *tensors, ctx.heads, ctx.head_dim, lengths = inputs
    ctx.mark_non_differentiable(*output[1:])
    # Autograd would fill a tensor of zeros for the gradient of each, which nothing reads.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, lengths, *output[1:])


def _backward(ctx: Any, g: Tensor | None, *_: Tensor) -> tuple[Any, ...]:
    *tensors, lengths, qkv, mixed, lse = ctx.saved_tensors
    needs = [i for i, needed in enumerate(ctx.needs_input_grad[:9]) if needed]
    if g is None:
        found: Sequence[Tensor | None] = [None] * len(needs)
    elif torch.is_grad_enabled():
        # The gradient itself will be differentiated: what the op returned is a constant to
        # autograd, so everything is computed again from x. From views, as paths from one input
        # through another are not those of this op.
        tensors = [t if t is None else t.view_as(t) for t in tensors]
        out = reference.formula(
            tensors[0], tensors[1:5], tensors[5:], ctx.heads, ctx.head_dim, lengths
        )[0]
        found = torch.autograd.grad(out, [tensors[i] for i in needs], g, create_graph=True)
    else:
        found = torch.ops.nas_domains.elastic_attention_bwd(
            g, *tensors[:5], qkv, mixed, lse, ctx.heads, ctx.head_dim, lengths, needs
        )
    grads = dict(zip(needs, found, strict=True))
    return *[grads.get(i) for i in range(9)], None, None, None


define(
    "elastic_attention_fwd",
    "(Tensor x, Tensor wq, Tensor wk, Tensor wv, Tensor wo, Tensor? bq, Tensor? bk, Tensor? bv, "
    "Tensor? bo, int[] heads, int head_dim, Tensor? lengths) -> (Tensor, Tensor, Tensor, Tensor)",
    reference.forward,
    _fwd_fake,
    triton="nas_domains.ops.elastic_attention_gpu:forward",
)
# qkv (queries scaled), mixed and lse are the forward's; needs names, among x, wq, wk, wv, wo, bq,
# bk, bv and bo, the inputs whose gradients are returned.
define(
    "elastic_attention_bwd",
    "(Tensor g, Tensor x, Tensor wq, Tensor wk, Tensor wv, Tensor wo, Tensor qkv, Tensor mixed, "
    "Tensor lse, int[] heads, int head_dim, Tensor? lengths, int[] needs) -> Tensor[]",
    reference.backward,
    _bwd_fake,
    triton="nas_domains.ops.elastic_attention_gpu:backward",
)
torch.library.register_autograd(
    "nas_domains::elastic_attention_fwd", _backward, setup_context=_setup_context
)
