"""The supernet's hot path: all candidates of a path at once, and what surrounds them.

One function for a path keeps its input and what its convolutions gave, as far as that is dear to
compute again; ReLUs, and convolutions of three weights a channel, run again in the backward pass.
The norms of all candidates and their weighted sum are ``ops.instance_weighted_sum``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ...ops import instance_weighted_sum
from . import convs
from .layers import Cell, ConvUnit, Increase, shifted

__all__ = ["instance_norm", "run_layer", "weighted_cell"]

Kernels = tuple[tuple[Tensor, ...], ...]
_EPS = 1e-5


def weighted_cell(cell: Cell, x: Tensor, weights: Tensor, active: Sequence[int]) -> Tensor:
    """What a path gives where its candidates are weighted: their weighted sum.

    Args:
        cell: With all candidates.
        x: Its input [B, c_in, ...].
        weights: Of the candidates, [K].
        active: Which of them run.
    """
    x = _preprocessed(cell.preprocess, convs.channels_last(x))
    kernels, gains, biases = [], [], []
    for k in active:
        unit = cell.op.ops[k]
        if isinstance(unit, ConvUnit):
            norm: Any = unit.norm
            kernels.append(tuple(c.weight for c in unit.children() if hasattr(c, "kernel_size")))
            gains.append(weights[k] * norm.weight)
            biases.append(weights[k] * norm.bias)
        else:
            kernels.append(())
            gains.append(weights[k].expand(x.shape[1]))
    counts = tuple(map(len, kernels))
    flat = [w for own in kernels for w in own]
    gain = torch.stack(gains).to(x.dtype)
    bias = sum(biases[1:], biases[0]).to(x.dtype) if biases else x.new_zeros(x.shape[1])
    apply: Any = _Weighted.apply  # untyped in torch
    y: Tensor = apply(x, gain, bias, counts, *flat)
    return y


class _Weighted(torch.autograd.Function):
    """sum over k of gain_k norm(convolutions_k(relu(x))) + bias; of a skip, gain_k x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, counts: tuple[int, ...], *flat: Tensor
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weights = _grouped(counts, [w.to(x.dtype) for w in flat])
            relu, left = convs.entry(x, [own[0] for own in weights if own])
            middles = [convs.run(relu, own[0], left) if own else x for own in weights]
            outs = [
                convs.run(m, own[1]) if len(own) > 1 else m
                for m, own in zip(middles, weights, strict=True)
            ]
            y: Tensor
            y, means, variances = torch.ops.nas_domains.instance_weighted_sum_fwd(
                outs, gain, bias, [count > 0 for count in counts], _EPS
            )
        # Without gradients of the weights nothing reads the middles but to compute the outs.
        ctx.whole = not any(w.requires_grad for w in flat)
        kept = outs if ctx.whole else middles
        kept = [t for t, count in zip(kept, counts, strict=True) if count]
        ctx.counts = counts
        ctx.save_for_backward(x, gain, means, variances, *flat, *kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        counts, total = ctx.counts, sum(ctx.counts)
        x, gain, means, variances, *rest = ctx.saved_tensors
        flat, kept = rest[:total], iter(rest[total:])
        needs_x, needs_w = ctx.needs_input_grad[0], ctx.needs_input_grad[4:]
        weights = _grouped(counts, [w.to(x.dtype) for w in flat])
        g = convs.channels_last(g)
        with torch.autocast(x.device.type, enabled=False):
            middles = [next(kept) if own else x for own in weights]
            outs = [
                convs.run(m, own[1]) if len(own) > 1 and not ctx.whole else m
                for m, own in zip(middles, weights, strict=True)
            ]
            wanted = [k for k, count in enumerate(counts) if needs_x or (count and any(needs_w))]
            found, d_gain, d_bias = torch.ops.nas_domains.instance_weighted_sum_bwd(
                g, outs, gain, [count > 0 for count in counts], means, variances, _EPS, wanted
            )
            dxs = dict(zip(wanted, found, strict=True))
            del outs, found
            relu, left = convs.entry(x, [own[0] for own in weights if own])
            d_weights: list[Tensor | None] = [None] * total
            d_x, firsts = None, {}
            for k, own in enumerate(weights):
                if k not in dxs:
                    continue
                d = dxs.pop(k)
                if not own:
                    d_x = d
                    continue
                first = sum(counts[:k])
                if len(own) > 1:
                    if needs_w[first + 1]:
                        d_weights[first + 1] = convs.grad_weight(d, middles[k], own[1])
                    d = convs.grad_input([d], [own[1]])
                if needs_w[first]:
                    d_weights[first] = convs.grad_weight(d, relu, own[0], left)
                firsts[k] = d
            if needs_x and firsts:
                ahead = convs.grad_input(list(firsts.values()), [weights[k][0] for k in firsts], x)
                d_x = ahead if d_x is None else d_x.add_(ahead)
        cast = [None if d is None else d.to(w.dtype) for d, w in zip(d_weights, flat, strict=True)]
        return (d_x, d_gain, d_bias, None, *cast)


def _grouped(counts: Sequence[int], flat: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """The weights of each candidate."""
    rest = iter(flat)
    return [tuple(next(rest) for _ in range(count)) for count in counts]


def _preprocessed(module: nn.Module, x: Tensor) -> Tensor:
    """A path's input at its resolution."""
    if isinstance(module, nn.Identity):
        return x
    up = module.up if isinstance(module, Increase) else None
    apply: Any = _Resized.apply  # untyped in torch
    y: Tensor = apply(x, up, *module.parameters())
    return y


class _Resized(torch.autograd.Function):
    """What Increase and Reduce do, computed again in the backward pass.

    With what needed a gradient in the forward pass: a search asks for those of the architecture
    parameters when the weights need theirs again, which `torch.utils.checkpoint` does not bear.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: nn.Module | None, *parameters: Tensor) -> Tensor:
        ctx.up = up
        ctx.save_for_backward(x, *parameters)
        return _resize(x, up, *parameters)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        needed = [ctx.needs_input_grad[0], *ctx.needs_input_grad[2:]]
        leaves = [
            t.detach().requires_grad_(need)
            for t, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        with torch.enable_grad():
            y = _resize(leaves[0], ctx.up, *leaves[1:])
        asked = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(torch.autograd.grad(y, asked, g) if asked else ())
        d_x, *rest = [next(found) if need else None for need in needed]
        return (d_x, None, *rest)


def _resize(x: Tensor, up: nn.Module | None, *parameters: Tensor) -> Tensor:
    """Of Increase where ``up`` is given, else of Reduce, with its parameters in their order."""
    *weights, gain, bias = parameters
    if up is not None:
        h = pointwise(up(x).relu_(), weights[0])
    else:
        x = x.relu()
        near, far = (
            t[(slice(None), slice(None), *(slice(None, None, 2),) * (t.dim() - 2))]
            for t in (x, shifted(x))
        )
        h = torch.cat([pointwise(near, weights[0]), pointwise(far, weights[1])], 1)
    return instance_norm(h, gain, bias)


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """A convolution of kernel 1, as one matrix product over channels that lie innermost."""
    return torch.nn.functional.linear(x.movedim(1, -1), weight.flatten(1)).movedim(-1, 1)


def instance_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``functional.instance_norm`` of channels-last x [B, C, ...], differentiable."""
    return instance_weighted_sum([convs.channels_last(x)], weight[None], bias, eps=_EPS)


def run_layer(module: nn.Module, x: Tensor) -> Tensor:
    """A stem, with its norms channels-last."""
    for part in _parts(module):
        if isinstance(part, nn.InstanceNorm2d | nn.InstanceNorm3d):
            x = instance_norm(x, part.weight, part.bias)
        elif not (isinstance(part, nn.Upsample) and part.scale_factor == 1):
            x = part(convs.channels_last(x))
    return x


def _parts(module: nn.Module) -> list[nn.Module]:
    children = list(module.children())
    return [p for c in children for p in _parts(c)] if children else [module]
