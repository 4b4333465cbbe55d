"""Self-attention whose heads are chosen one by one: operators of heads, and the layer of them.

Each head of a :class:`Heads` layer is a :class:`~nas_domains.nn.one_of.OneOf` of operators, so
that a :class:`~nas_domains.nn.model_space.ModelSpace` finds them and every strategy and relaxation
works on them. The layer itself computes: it makes queries, keys and values once for all operators
of a head, the scores of two softmaxes too, and weighs what comes of them in one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, elu

from ..core.errors import UsageError
from ..ops.elastic_attention_reference import by_head
from .one_of import OneOf

__all__ = [
    "OPERATORS",
    "ConvHead",
    "HeadOperator",
    "Heads",
    "LinearHead",
    "LocalHead",
    "NoHead",
    "SoftmaxHead",
    "compact",
]


class HeadOperator(nn.Module):
    """What one head does with its queries, keys and values.

    Operators that print alike are run together, for all heads that have them, by the first:
    :meth:`together` gets the queries, keys and values [B, N, T, head_dim] of N heads, zeros where
    there is padding, and ``inside`` [B, T], which tokens are no padding (None: all are).
    """

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


Group = tuple[list[int], list[HeadOperator], list[Tensor | None]]
"""The heads where operators of one kind run, they themselves, and their weights."""

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


class HeadChoice(OneOf):
    """The choice of one head: called, it gives the weights of the operators for its layer."""

    def forward(self) -> dict[str, Tensor | None]:
        """Operators that run -> their weight, a number, or None for one alone."""
        names = list(self.candidates)
        if isinstance(self.weights, int):
            return {names[self.weights]: None}
        if isinstance(self.weights, tuple):
            values, active = self.weights
            return {names[i]: values[i] for i in active}
        if self.weights is None:
            first = next(self.parameters(), torch.empty(()))
            return dict.fromkeys(names, first.new_full((), 1 / len(names)))
        return dict(zip(names, self.weights.unbind(0), strict=True))


class Heads(nn.Module):
    """Multi-head self-attention whose heads each have one of several operators.

    Args:
        width: Features of a token.
        heads: Number of heads, a divisor of the width.
        operators: Name -> maker, what each head may be; ``OPERATORS`` by default.
        fixed: Names of the operators of all heads, for a layer without choices.

    Attributes:
        choices: For each head its choice, or the operator once that is taken.

    Raises:
        UsageError: Heads that do not divide the width, or a name that is no operator's.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        operators: Mapping[str, Maker] | None = None,
        fixed: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise UsageError(
                f"{heads} heads do not divide {width} features: use a number of heads that does."
            )
        makers = OPERATORS if operators is None else operators
        self.head_dim = width // heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        if fixed is None:
            self.choices = nn.ModuleList(
                HeadChoice({name: make(self.head_dim) for name, make in makers.items()})
                for _ in range(heads)
            )
            return
        unknown = [name for name in fixed if name not in makers]
        if unknown or len(fixed) != heads:
            raise UsageError(
                f"The operators {', '.join(fixed)} do not fit {heads} heads: name one of "
                f"{', '.join(makers)} for each head."
            )
        self.choices = nn.ModuleList(makers[name](self.head_dim) for name in fixed)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, T, width] and, where there is padding, its lengths [B] -> [B, T, width].

        Padding is not looked at, and what comes out there is zero.
        """
        inside = None
        if lengths is not None:
            inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        x = cleared(x, inside)
        q, k, v = (
            by_head(cleared(f(x), inside), self.head_dim)
            for f in (self.query, self.key, self.value)
        )
        y = self._heads(q, k, v, inside).transpose(1, 2).flatten(2)
        out: Tensor = cleared(self.output(y), inside)
        return out

    def _heads(self, q: Tensor, k: Tensor, v: Tensor, inside: Tensor | None) -> Tensor:
        found = self._running()
        kinds = list(found)
        # The softmaxes of the same heads are those of the same scores, and their weighted sum
        # multiplies the values once.
        shared = [kind for kind in kinds if isinstance(found[kind][1][0], SoftmaxHead)]
        total = torch.zeros_like(v)
        if len(shared) > 1 and len({tuple(found[t][0]) for t in shared}) == 1:
            heads = found[shared[0]][0]
            picked = partial(_picked, heads=heads, count=v.shape[1])
            scores = scores_of(picked(q), picked(k), inside)
            p = torch.zeros_like(scores)
            for kind in shared:
                _, operators, weights = found[kind]
                first = operators[0]
                assert isinstance(first, SoftmaxHead)
                p = p + _weighted(first.probabilities(scores), weights)
            total = _placed(total, heads, p @ picked(v))
            kinds = [t for t in kinds if t not in shared]
        for kind in kinds:
            heads, operators, weights = found[kind]
            if isinstance(operators[0], NoHead):
                continue
            own = [_picked(t, heads, v.shape[1]) for t in (q, k, v)]
            y = operators[0].together(operators, own[0], own[1], own[2], inside)
            total = _placed(total, heads, _weighted(y, weights))
        return total

    def _running(self) -> dict[str, Group]:
        """Operators that can be run together, by what they print."""
        found: dict[str, Group] = {}
        for head, choice in enumerate(self.choices):
            own: Mapping[str, Tensor | None] = {"": None}
            if isinstance(choice, HeadChoice):
                own = choice()
            for name, weight in own.items():
                operator = choice.candidates[name] if isinstance(choice, HeadChoice) else choice
                assert isinstance(operator, HeadOperator)
                heads, operators, weights = found.setdefault(repr(operator), ([], [], []))
                heads.append(head)
                operators.append(operator)
                weights.append(weight)
        return found


def _picked(x: Tensor, heads: Sequence[int], count: int) -> Tensor:
    """Some heads of [B, count, ...]."""
    return x if len(heads) == count else x[:, list(heads)]


def _placed(total: Tensor, heads: Sequence[int], y: Tensor) -> Tensor:
    """total [B, H, ...] plus y [B, N, ...] at some heads."""
    if len(heads) == total.shape[1]:
        return total + y
    return total.index_add(1, torch.tensor(heads, device=y.device), y)


def _weighted(y: Tensor, weights: Sequence[Tensor | None]) -> Tensor:
    """y [B, N, ., .] times the N weights; those that are None are one."""
    if all(w is None for w in weights):
        return y
    row = torch.stack([y.new_ones(()) if w is None else w.to(y.dtype) for w in weights])
    return y * row[:, None, None]


def compact(model: nn.Module) -> nn.Module:
    """Cuts the heads that do nothing out of all :class:`Heads` layers of a model, in place.

    A layer keeps one head at least, so that its form stays that of attention.

    Raises:
        UsageError: A head whose operator is not chosen yet.
    """
    for layer in [m for m in model.modules() if isinstance(m, Heads)]:
        if any(isinstance(choice, OneOf) for choice in layer.choices):
            raise UsageError(
                "A head whose operator is not chosen yet cannot be cut out: extract an "
                "architecture first."
            )
        kept = [i for i, op in enumerate(layer.choices) if not isinstance(op, NoHead)] or [0]
        if len(kept) == len(layer.choices):
            continue
        rows = torch.cat([torch.arange(layer.head_dim) + i * layer.head_dim for i in kept])
        for linear in (layer.query, layer.key, layer.value):
            rows = rows.to(linear.weight.device)
            linear.weight = nn.Parameter(linear.weight.detach()[rows].clone())
            linear.bias = nn.Parameter(linear.bias.detach()[rows].clone())
            linear.out_features = len(rows)
        output = layer.output
        output.weight = nn.Parameter(output.weight.detach()[:, rows].clone())
        output.in_features = len(rows)
        layer.choices = nn.ModuleList(layer.choices[i] for i in kept)
    return model
