"""What one head of self-attention does: operators, and what they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, elu

__all__ = [
    "OPERATORS",
    "ConvHead",
    "HeadOperator",
    "LinearHead",
    "LocalHead",
    "Maker",
    "NoHead",
    "SoftmaxHead",
]


class HeadOperator(nn.Module):
    """What one head does with its queries, keys and values.

    Operators that print alike are run together, for all heads that have them, by the first:
    :meth:`together` gets the queries, keys and values [B, N, T, head_dim] of N heads, zeros where
    there is padding, and ``inside`` [B, T], which tokens are no padding (None: all are).

    Attributes:
        looks: Whether it looks at queries and keys; where not, it may be given anything there.
    """

    looks: ClassVar[bool] = True

    def together(
        self,
        operators: Sequence[HeadOperator],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        inside: Tensor | None,
    ) -> Tensor:
        """[B, N, T, head_dim] of N such operators; any numbers where there is padding."""
        raise NotImplementedError

    def forward(self, q: Tensor, k: Tensor, v: Tensor, inside: Tensor | None = None) -> Tensor:
        """One head alone: [B, T, head_dim] three times to [B, T, head_dim]."""
        y = self.together([self], q[:, None], k[:, None], v[:, None], inside)
        return cleared(y[:, 0], inside)


class SoftmaxHead(HeadOperator):
    """Attention to all tokens (Vaswani et al. 2017, arXiv:1706.03762)."""

    def probabilities(self, scores: Tensor) -> Tensor:
        """[..., T, T] scores to weights of the tokens."""
        return scores.softmax(-1)

    def together(
        self,
        operators: Sequence[HeadOperator],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        inside: Tensor | None,
    ) -> Tensor:
        """See :class:`HeadOperator`."""
        return self.probabilities(scores_of(q, k, inside)) @ v


class LocalHead(SoftmaxHead):
    """Attention to the tokens at most ``window`` away (Beltagy et al. 2020, arXiv:2004.05150)."""

    def __init__(self, window: int = 4) -> None:
        super().__init__()
        self.window = window

    def probabilities(self, scores: Tensor) -> Tensor:
        """See :class:`SoftmaxHead`."""
        at = torch.arange(scores.shape[-1], device=scores.device)
        near = (at - at[:, None]).abs() <= self.window
        # Each token is near itself; one of padding may see nothing and is cleared by the layer.
        lowest = torch.finfo(scores.dtype).min
        return scores.masked_fill(~near, -torch.inf).clamp_min(lowest).softmax(-1)

    def extra_repr(self) -> str:
        """The window."""
        return f"window={self.window}"


class LinearHead(HeadOperator):
    """Attention without a softmax, in time linear in T (Katharopoulos et al. 2020,
    arXiv:2006.16236): weights are products of elu(q) + 1 and elu(k) + 1."""

    def together(
        self,
        operators: Sequence[HeadOperator],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        inside: Tensor | None,
    ) -> Tensor:
        """See :class:`HeadOperator`."""
        q, k = elu(q) + 1, elu(k) + 1
        if inside is not None:
            k = k * inside[:, None, :, None].to(k.dtype)
        total = (q * k.sum(2, keepdim=True)).sum(3, keepdim=True)
        # Only an item of nothing but padding has no positive total.
        return q @ (k.transpose(2, 3) @ v) / total.clamp_min(torch.finfo(total.dtype).tiny)


class ConvHead(HeadOperator):
    """A depthwise convolution of the values over the tokens (Wu et al. 2019, arXiv:1901.10430).

    Args:
        head_dim: Features of a head.
        kernel: Tokens that each one sees, an odd number.
    """

    looks = False

    def __init__(self, head_dim: int, kernel: int = 7) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(head_dim, kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        nn.init.uniform_(self.weight, -bound, bound)

    def together(
        self,
        operators: Sequence[HeadOperator],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        inside: Tensor | None,
    ) -> Tensor:
        """See :class:`HeadOperator`."""
        weights: list[Tensor] = [o.weight for o in operators if isinstance(o, ConvHead)]
        weight = torch.cat(weights)[:, None]
        channels = v.transpose(2, 3).flatten(1, 2)
        y = conv1d(channels, weight, padding=weight.shape[2] // 2, groups=len(weight))
        return y.reshape(v.shape[0], len(operators), len(self.weight), v.shape[2]).transpose(2, 3)

    def extra_repr(self) -> str:
        """The kernel."""
        return f"kernel={self.weight.shape[1]}"


class NoHead(HeadOperator):
    """Zeros: the head is left out."""

    looks = False

    def together(
        self,
        operators: Sequence[HeadOperator],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        inside: Tensor | None,
    ) -> Tensor:
        """See :class:`HeadOperator`."""
        return torch.zeros_like(v)


Maker = Callable[[int], HeadOperator]
"""From the features of a head to an operator."""

OPERATORS: dict[str, Maker] = {
    "softmax": lambda head_dim: SoftmaxHead(),
    "local": lambda head_dim: LocalHead(),
    "linear": lambda head_dim: LinearHead(),
    "conv": ConvHead,
    "none": lambda head_dim: NoHead(),
}


def cleared(y: Tensor, inside: Tensor | None) -> Tensor:
    """y [B, T, ...] with zeros where there is padding."""
    if inside is None:
        return y
    return y.masked_fill(~inside.view(*inside.shape, *(1,) * (y.dim() - 2)), 0)


def scores_of(q: Tensor, k: Tensor, inside: Tensor | None) -> Tensor:
    """The scaled products of queries and keys; the lowest number for keys that are padding."""
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
    if inside is None:
        return scores
    # Not minus infinity, for an item of nothing but padding.
    return scores.masked_fill(~inside[:, None, None], torch.finfo(scores.dtype).min)
