"""Self-attention whose heads are chosen one by one: operators of heads, and the layer of them.

Each head of a :class:`Heads` layer is a :class:`~nas_domains.nn.one_of.OneOf` of operators, so
that a :class:`~nas_domains.nn.model_space.ModelSpace` finds them and every strategy and relaxation
works on them. The layer itself computes: it makes queries, keys and values once for all operators
of a head, the scores of two softmaxes too, and weighs what comes of them in one pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..ops.elastic_attention_reference import by_head
from .head_operators import OPERATORS, HeadOperator, Maker, NoHead, SoftmaxHead, cleared, scores_of
from .one_of import OneOf

__all__ = ["HeadChoice", "Heads", "compact"]

Group = tuple[list[int], list[HeadOperator], list[Tensor | None]]
"""The heads where operators of one kind run, they themselves, and their weights."""


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
        label: What the labels of its choices begin with, ``layer1.head1`` where it is ``layer1``;
            without one they are called by their places.
        busy: How many heads, the first ones, may not be ``none``.

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
        label: str | None = None,
        busy: int = 0,
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise UsageError(
                f"{heads} heads do not divide {width} features: use a number of heads that does."
            )
        makers = OPERATORS if operators is None else operators
        self.head_dim = width // heads
        self.query: nn.Linear | None = nn.Linear(width, width)
        self.key: nn.Linear | None = nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)
        if fixed is None:
            self.choices = nn.ModuleList(
                HeadChoice(
                    {
                        name: make(self.head_dim)
                        for name, make in makers.items()
                        if name != "none" or head >= busy
                    },
                    label and f"{label}.head{head + 1}",
                )
                for head in range(heads)
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
        v = self._projected(self.value, x, inside)
        # Where no head looks at queries and keys, there are none.
        q, k = (v if f is None else self._projected(f, x, inside) for f in (self.query, self.key))
        y = self._heads(q, k, v, inside).transpose(1, 2).flatten(2)
        out: Tensor = cleared(self.output(y), inside)
        return out

    def _projected(self, linear: nn.Linear, x: Tensor, inside: Tensor | None) -> Tensor:
        """[B, heads, T, head_dim]."""
        return by_head(cleared(linear(x), inside), self.head_dim)

    def _heads(self, q: Tensor, k: Tensor, v: Tensor, inside: Tensor | None) -> Tensor:
        found = self._running()
        kinds = list(found)
        # The softmaxes of the same heads are those of the same scores, and their weighted sum
        # multiplies the values once.
        shared = [kind for kind in kinds if isinstance(found[kind][1][0], SoftmaxHead)]
        total = torch.zeros_like(v)
        if len(shared) > 1 and len({tuple(found[t][0]) for t in shared}) == 1:
            heads = found[shared[0]][0]
            picked = partial(_picked, heads=heads)
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
            mine = _picked(v, heads)
            looks = operators[0].looks
            own_q, own_k = (_picked(t, heads) if looks else mine for t in (q, k))
            y = operators[0].together(operators, own_q, own_k, mine, inside)
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


def _picked(x: Tensor, heads: Sequence[int]) -> Tensor:
    """Some heads of [B, H, ...], ascending."""
    return x if len(heads) == x.shape[1] else x[:, list(heads)]


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
    """Cuts what does nothing out of all :class:`Heads` layers of a model, in place.

    That is heads that are ``none``, and the queries and keys of heads that do not look at them.
    Heads that look come first in what is left. A layer keeps one head at least, so that its form
    stays that of attention.

    Raises:
        UsageError: A head whose operator is not chosen yet.
    """
    for layer in [m for m in model.modules() if isinstance(m, Heads)]:
        operators: list[HeadOperator] = []
        for choice in layer.choices:
            if not isinstance(choice, HeadOperator):
                raise UsageError(
                    "A head whose operator is not chosen yet cannot be cut out: extract an "
                    "architecture first."
                )
            operators.append(choice)
        looking = [i for i, op in enumerate(operators) if op.looks]
        others = [i for i, op in enumerate(operators) if not (op.looks or isinstance(op, NoHead))]
        kept = [*looking, *others] or [0]
        size = layer.head_dim
        for name in ("query", "key"):
            linear = getattr(layer, name)
            setattr(layer, name, _rows(linear, looking, size) if looking else None)
        layer.value = _rows(layer.value, kept, size)
        output = layer.output
        output.weight = nn.Parameter(output.weight.detach()[:, _places(output, kept, size)])
        output.in_features = output.weight.shape[1]
        layer.choices = nn.ModuleList(operators[i] for i in kept)
    return model


def _rows(linear: nn.Linear, heads: Sequence[int], size: int) -> nn.Linear:
    """The rows of some heads, in place."""
    at = _places(linear, heads, size)
    linear.weight = nn.Parameter(linear.weight.detach()[at])
    linear.bias = nn.Parameter(linear.bias.detach()[at])
    linear.out_features = len(at)
    return linear


def _places(linear: nn.Linear, heads: Sequence[int], size: int) -> Tensor:
    """The numbers of the features of some heads."""
    at = torch.cat([torch.arange(size) + head * size for head in heads])
    return at.to(linear.weight.device)
