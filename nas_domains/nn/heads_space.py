"""Spaces of head operators and feed-forward widths: what texts and speech have in common."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..core.architecture import Architecture, Option
from ..core.errors import UsageError
from .head_operators import OPERATORS, Maker
from .heads import compact
from .one_of_space import OneOfSpace

MOST_PARTS = 20_000
"""Networks that are looked through for one of softmax heads that is as large as another."""


class HeadsSpace(OneOfSpace):
    """The operator of each head and the feed-forward width of each layer; a base.

    ``layer1.head1`` is one of the first layer's heads, ``layer1.feed`` its feed-forward width. The
    first head of a layer is never ``none``; heads that are, and queries and keys that no operator
    looks at, are cut out of the networks.

    Args:
        name: Name of the space.
        model: A model with these choices.
        config: Holds ``layers``, ``heads``, ``feeds`` and ``operators``.
    """

    by_recipe = True
    # It scores paths by data that were not learnt from; the published rate of DARTS leaves the
    # weights of operators nearly as they began in a search of some minutes.
    strategy = "ofa"

    def __init__(self, name: str, model: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__(name, model, config)
        self.operators = makers(config)
        self.feeds: list[int] = list(config["feeds"])

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> nn.Module:
        """The plain network of an architecture; see :meth:`SearchSpace.build`."""
        return self.plain(self.whole(input_shape, outputs), architecture)

    def plain(self, model: nn.Module, architecture: Architecture) -> nn.Module:
        """See the base; what does nothing is cut out."""
        return compact(super().plain(model, architecture))

    def largest(self) -> Architecture:
        """The architecture of most parameters."""
        return self.alike(next(iter(self.operators)), self.feeds[-1])

    def smallest(self) -> Architecture:
        """The architecture of fewest parameters."""
        return self.alike(list(self.operators)[-1], self.feeds[0])

    def alike(self, operator: str, feed: int) -> Architecture:
        """All heads of one operator, or the last that a head has, and all feeds of one width."""
        chosen: dict[str, Option] = {}
        for c in self.choices:
            own = operator if operator in c.options else c.options[-1]
            chosen[c.name] = str(feed) if c.name.endswith(".feed") else own
        return self.complete(chosen, None)

    def parameter_free(self, architecture: Architecture) -> float:
        """The share of heads that are none."""
        heads = [option for name, option in architecture.items() if ".head" in name]
        return heads.count("none") / len(heads)

    def references(
        self, winner: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> dict[str, Architecture]:
        """The network of softmax heads alone that is as large as the winner within half a percent.

        Of several it is the one of most heads; where there is none, the nearest in size.
        """
        if "softmax" not in self.operators:
            return {}
        table = self.cost_tables(input_shape, outputs)["params"]
        size, layers = table.cost(winner), int(self.config["layers"])
        most = int(self.config["heads"])
        counts = range(1, most + 1) if "none" in self.operators else [most]
        layer = list(itertools.product(counts, self.feeds))
        # Which layer is the larger one does not matter here; with many layers all are alike.
        parts: list[tuple[tuple[int, int], ...]]
        if math.comb(len(layer) + layers - 1, layers) <= MOST_PARTS:
            parts = list(itertools.combinations_with_replacement(layer, layers))
        else:
            parts = [(one,) * layers for one in layer]

        def unlike(part: Sequence[tuple[int, int]]) -> tuple[float, int, float]:
            difference = abs(table.cost(self._softmax(part)) - size) / size
            return difference // 0.005, -sum(heads for heads, _ in part), difference

        return {"softmax": self._softmax(min(parts, key=unlike))}

    def _softmax(self, part: Sequence[tuple[int, int]]) -> Architecture:
        """Of each layer so many softmax heads, and that width."""
        chosen: dict[str, Option] = {}
        for i, (heads, feed) in enumerate(part, 1):
            for head in range(1, 1 + int(self.config["heads"])):
                chosen[f"layer{i}.head{head}"] = "softmax" if head <= heads else "none"
            chosen[f"layer{i}.feed"] = str(feed)
        return self.complete(chosen, None)


def makers(config: Mapping[str, Any]) -> dict[str, Maker]:
    """The operators that a configuration names."""
    return {name: OPERATORS[name] for name in config["operators"]}


def operators_of(space: str, given: str | Sequence[str]) -> list[str]:
    """Reads the ``operators`` that a user names, the costliest first.

    Args:
        space: Name of the space, for errors.
        given: Their names, or a text of several such as "softmax-none".

    Raises:
        UsageError: One that is not known or named twice, or ``none`` alone.
    """
    names = given.split("-") if isinstance(given, str) else list(given)
    known = list(OPERATORS)
    if set(names) - set(known) or len(set(names)) < len(names) or set(names) <= {"none"}:
        raise UsageError(
            f"operators={given!r} of the space {space!r} must be some of {'-'.join(known)}, none "
            "twice and not none alone."
        )
    return [name for name in known if name in names]


def divided(space: str, width: int, heads: int) -> None:
    """Refuses heads that do not divide the width.

    Raises:
        UsageError: Such heads.
    """
    if width % heads:
        raise UsageError(
            f"heads={heads!r} of the space {space!r} must be a divisor of the width {width}."
        )
