"""The space ``text-heads``: networks of texts from scratch, head by head."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..core.architecture import Architecture, Option
from ..core.errors import UsageError
from ..core.limit import CostTable
from ..hardware.cost import count_params, macs_of
from ..nn.encoder import EncoderSpec
from ..nn.head_network import POOLS, HeadsClassifier, heads_network, part_blocks, states
from ..nn.head_operators import OPERATORS
from ..nn.heads import compact
from ..nn.model_choices import ModelChoices
from ..nn.one_of_space import OneOfSpace
from .vocabulary import CLS, LEAST, PAD, SEP

VOCABULARY, MAX_LENGTH = 4000, 128
"""Tokens of a vocabulary, and tokens at which texts are cut, where nothing else is said."""

COUNTED = ("params", "macs")

MOST_PARTS = 20_000
"""Networks that are looked through for one of softmax heads that is as large as another."""


class TextHeads(OneOfSpace):
    """The operator of each head and the feed-forward width of each layer.

    ``layer1.head1`` is one of the first layer's heads, ``layer1.feed`` its feed-forward width. The
    first head of a layer is never ``none``; heads that are, and queries and keys that no operator
    looks at, are cut out of the networks. See :func:`text_heads` for the arguments.
    """

    by_recipe = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.operators = {name: OPERATORS[name] for name in config["operators"]}
        self.feeds: list[int] = list(config["feeds"])
        self.pool = str(config["pool"])
        self.spec = EncoderSpec(
            hidden=config["width"],
            heads=config["heads"],
            width=self.feeds[-1],
            layers=config["layers"],
            vocabulary=config["vocabulary"],
            positions=config["max_length"],
            types=2,
            eps=1e-5,
            dropout=config["dropout"],
            pad=PAD,
            cls=CLS,
            sep=SEP,
            norm_first=True,
            family="text-heads",
        )
        with torch.random.fork_rng(devices=[]):
            model = self._network(2)
        super().__init__("text-heads", model, config)

    @property
    def task_options(self) -> Mapping[str, Any]:
        """The size of the vocabulary and of texts; see the base."""
        return {name: self.config[name] for name in ("vocabulary", "max_length")}

    def check_task(self, preprocess: Mapping[str, Any]) -> None:
        """See the base; a vocabulary may be smaller than the table of tokens, not larger."""
        found = preprocess.get("vocabulary", {}).get("tokens", ())
        if preprocess.get("loader") == "text" and not 0 < len(found) <= self.spec.vocabulary:
            what = f"a vocabulary of {len(found)} tokens" if found else "those of a checkpoint"
            raise UsageError(
                f"The space {self.name!r} has {self.spec.vocabulary} tokens, and the texts have "
                f"{what}: load the task without checkpoint and with the option vocabulary of the "
                "space."
            )

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> nn.Module:
        """The plain network of an architecture; see :meth:`SearchSpace.build`."""
        return self.plain(self.whole(input_shape, outputs), architecture)

    def whole(self, input_shape: tuple[int, ...], outputs: int) -> HeadsClassifier:
        """A new network with its choices; see the base."""
        self._check_input(input_shape)
        network = self._network(outputs)
        ModelChoices(network)  # tells them their names
        return network

    def _network(self, outputs: int) -> HeadsClassifier:
        return heads_network(self.spec, self.operators, self.feeds, outputs, self.pool)

    def plain(self, model: nn.Module, architecture: Architecture) -> nn.Module:
        """See the base; what does nothing is cut out."""
        return compact(super().plain(model, architecture))

    def largest(self) -> Architecture:
        """The architecture of most parameters."""
        return self._of(next(iter(self.operators)), self.feeds[-1])

    def smallest(self) -> Architecture:
        """The architecture of fewest parameters."""
        return self._of(list(self.operators)[-1], self.feeds[0])

    def _of(self, operator: str, feed: int) -> Architecture:
        """All heads of one operator, or the last that a head has, and all feeds of one width."""
        return self.complete(
            {
                c.name: str(feed)
                if c.name.endswith(".feed")
                else (operator if operator in c.options else c.options[-1])
                for c in self.choices
            },
            None,
        )

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
        size, layers = table.cost(winner), self.spec.layers
        most = self.spec.heads
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
            for head in range(1, 1 + self.spec.heads):
                chosen[f"layer{i}.head{head}"] = "softmax" if head <= heads else "none"
            chosen[f"layer{i}.feed"] = str(feed)
        return self.complete(chosen, None)

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """The exact tables of params and macs; see :meth:`SearchSpace.cost_tables`."""
        self._check_input(input_shape)
        spec, tokens = self.spec, input_shape[len(input_shape) // 2]
        # Networks are made to be counted: what is drawn later must not depend on it.
        with torch.random.fork_rng(devices=[]):
            empty = HeadsClassifier(spec, [], outputs, self.pool)
            heads, feeds = part_blocks(spec, self.operators, self.feeds)
            x = states(tokens, spec)
            base = {"params": count_params(empty), "macs": macs_of(empty, empty.example([tokens]))}
            costs: dict[str, dict[Option, dict[str, int]]] = {"head": {}, "feed": {}}
            for kind, blocks in (("head", heads), ("feed", feeds)):
                for name, block in blocks.items():
                    made = compact(block)
                    run = made if kind == "head" else _Alone(made)
                    costs[kind][name] = {"params": count_params(made), "macs": macs_of(run, x)}
        # The norm and the last bias are those of the block, whatever its heads are.
        shared = {"params": 3 * spec.hidden, "macs": 0}
        return {
            metric: CostTable(
                base[metric] + spec.layers * shared[metric],
                {
                    c.name: self._added(c.name, c.options, costs, metric, shared)
                    for c in self.choices
                },
            )
            for metric in COUNTED
        }

    @staticmethod
    def _added(
        name: str,
        options: Sequence[Option],
        costs: Mapping[str, Mapping[Option, Mapping[str, int]]],
        metric: str,
        shared: Mapping[str, int],
    ) -> dict[Option, float]:
        if name.endswith(".feed"):
            return {o: costs["feed"][o][metric] for o in options}
        found = costs["head"]
        return {o: found[o][metric] - shared[metric] if o in found else 0 for o in options}

    def _check_input(self, input_shape: tuple[int, ...]) -> None:
        longest = self.spec.longest
        if not input_shape or not all(2 <= n <= longest for n in input_shape):
            raise UsageError(
                f"The space {self.name!r} takes texts of 2 to {longest} tokens, not inputs of "
                f"shape {tuple(input_shape)}: give it a task of texts."
            )


class _Alone(nn.Module):
    """A feed-forward block without lengths."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.block(x, None)
        return out


def text_heads(
    layers: int = 2,
    heads: int = 4,
    width: int = 64,
    feeds: str | int | Sequence[int] = "64-128-256",
    operators: str | Sequence[str] = "softmax-local-linear-conv-none",
    vocabulary: int = VOCABULARY,
    max_length: int = MAX_LENGTH,
    pool: str = "mean",
    dropout: float = 0.2,
) -> TextHeads:
    """The space of networks of head operators for texts, from scratch.

    Several options are written with hyphens, e.g. ``text-heads:feeds=64-128``.

    Args:
        layers: Layers.
        heads: Heads of a layer, a divisor of the width.
        width: Features of a token.
        feeds: Features that the feed-forward block of a layer may have inside.
        operators: What a head may be, of ``softmax``, ``local``, ``linear``, ``conv``, ``none``.
        vocabulary: Tokens of the vocabulary that is learnt from the training texts.
        max_length: Tokens at which texts are cut.
        pool: "mean" over the tokens, or "cls", the first of them.
        dropout: Behind the embeddings and each block.

    Raises:
        UsageError: A size that is no number in range, heads that do not divide the width, or an
            operator or pool that is not known.
    """
    least = {"layers": 1, "heads": 1, "width": 1, "vocabulary": LEAST, "max_length": 4}
    sizes = {
        "layers": layers,
        "heads": heads,
        "width": width,
        "vocabulary": vocabulary,
        "max_length": max_length,
    }
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least[name]:
            raise _wrong(name, value, f"a whole number from {least[name]} on")
    if width % heads:
        raise _wrong("heads", heads, f"a divisor of the width {width}")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise _wrong("dropout", dropout, "a number from 0 to below 1")
    if pool not in POOLS:
        raise _wrong("pool", pool, " or ".join(POOLS))
    return TextHeads(
        {
            **sizes,
            "feeds": _feeds(feeds),
            "operators": _operators(operators),
            "pool": pool,
            "dropout": dropout,
        }
    )


def _wrong(name: str, given: object, wanted: str) -> UsageError:
    return UsageError(f"{name}={given!r} of the space 'text-heads' must be {wanted}.")


def _feeds(given: str | int | Sequence[int]) -> list[int]:
    parts = given.split("-") if isinstance(given, str) else given
    texts = [str(part) for part in (parts if isinstance(parts, Sequence) else [parts])]
    whole = all(text.isascii() and text.isdigit() and int(text) > 0 for text in texts)
    if not texts or not whole or len({int(text) for text in texts}) < len(texts):
        raise _wrong("feeds", given, "whole numbers above 0, none twice, such as 64-128")
    return sorted(int(text) for text in texts)


def _operators(given: str | Sequence[str]) -> list[str]:
    names = given.split("-") if isinstance(given, str) else list(given)
    known = list(OPERATORS)
    if set(names) - set(known) or len(set(names)) < len(names) or set(names) <= {"none"}:
        raise _wrong(
            "operators", given, f"some of {'-'.join(known)}, none twice and not none alone"
        )
    # From the costliest to none, whatever order they were named in.
    return [name for name in known if name in names]
