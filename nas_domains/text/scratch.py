"""The space ``text-heads``: networks of texts from scratch, head by head."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..core.limit import CostTable
from ..core.numbers import Numbers, one_of, options_of, share_below_one
from ..hardware.cost import count_params, macs_of
from ..hardware.heads_cost import heads_tables
from ..nn.encoder import EncoderSpec
from ..nn.head_network import POOLS, HeadsClassifier, heads_network, part_blocks
from ..nn.heads_space import HeadsSpace, divided, makers, operators_of
from ..nn.model_choices import ModelChoices
from .vocabulary import CLS, LEAST, PAD, SEP

VOCABULARY, MAX_LENGTH = 4000, 128
"""Tokens of a vocabulary, and tokens at which texts are cut, where nothing else is said."""


class TextHeads(HeadsSpace):
    """Head operators and feed-forward widths; see the base, and :func:`text_heads`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.spec = EncoderSpec(
            hidden=config["width"],
            heads=config["heads"],
            width=config["feeds"][-1],
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
            super().__init__("text-heads", _network(self.spec, config, 2), config)

    @property
    def task_options(self) -> Mapping[str, Any]:
        """The size of the vocabulary and of texts; see the base."""
        return {name: self.config[name] for name in ("vocabulary", "max_length")}

    def check_task(self, preprocess: Mapping[str, Any]) -> None:
        """See the base; a vocabulary may be smaller than the table of tokens, not larger."""
        found = preprocess.get("vocabulary", {}).get("tokens", ())
        loader = preprocess.get("loader")
        if loader in ("text", "tags") and (loader == "tags") != (self.config["pool"] == "none"):
            better = "pool=none" if loader == "tags" else "pool=mean"
            raise UsageError(
                f"The space {self.name!r} with pool={self.config['pool']} does not give what the "
                f"task asks for: write {better}."
            )
        if loader in ("text", "tags") and not 0 < len(found) <= self.spec.vocabulary:
            what = f"a vocabulary of {len(found)} tokens" if found else "those of a checkpoint"
            raise UsageError(
                f"The space {self.name!r} has {self.spec.vocabulary} tokens, and the texts have "
                f"{what}: load the task without checkpoint and with the option vocabulary of the "
                "space."
            )

    def whole(self, input_shape: tuple[int, ...], outputs: int) -> HeadsClassifier:
        """A new network with its choices; see the base."""
        self._check_input(input_shape)
        network = _network(self.spec, self.config, outputs)
        ModelChoices(network)  # tells them their names
        return network

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """The exact tables of params and macs; see :meth:`SearchSpace.cost_tables`."""
        self._check_input(input_shape)
        spec, tokens = self.spec, input_shape[len(input_shape) // 2]
        # The norm and the last bias of a block of heads are there whatever its heads are.
        shared = 3 * spec.hidden
        # Networks are made to be counted: what is drawn later must not depend on it.
        with torch.random.fork_rng(devices=[]):
            empty = HeadsClassifier(spec, [], outputs, self.config["pool"])
            heads, feeds = part_blocks(spec, self.operators, self.feeds)
            return heads_tables(
                self.choices,
                {
                    "params": count_params(empty) + spec.layers * shared,
                    "macs": macs_of(empty, empty.example([tokens])),
                },
                heads,
                {name: _Alone(block) for name, block in feeds.items()},
                torch.zeros((1, tokens, spec.hidden)),
                shared,
            )

    def _check_input(self, input_shape: tuple[int, ...]) -> None:
        longest = self.spec.longest
        if not input_shape or not all(2 <= n <= longest for n in input_shape):
            raise UsageError(
                f"The space {self.name!r} takes texts of 2 to {longest} tokens, not inputs of "
                f"shape {tuple(input_shape)}: give it a task of texts."
            )


def _network(spec: EncoderSpec, config: Mapping[str, Any], outputs: int) -> HeadsClassifier:
    return heads_network(spec, makers(config), config["feeds"], outputs, config["pool"])


class _Alone(nn.Module):
    """A feed-forward block without lengths."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x, None)
        return out


def text_heads(
    layers: int = 2,
    heads: int = 4,
    width: int = 64,
    feeds: Numbers = "64-128-256",
    operators: str | Sequence[str] = "softmax-local-linear-conv-none",
    vocabulary: int = VOCABULARY,
    max_length: int = MAX_LENGTH,
    pool: str = "mean",
    dropout: float = 0.3,
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
        pool: "mean" over the tokens, "cls", the first of them, or "none" for a class of each.
        dropout: Behind the embeddings and each block.

    Raises:
        UsageError: A size that is no number in range, heads that do not divide the width, or an
            operator or pool that is not known.
    """
    name = "text-heads"
    config: dict[str, Any] = {
        "layers": one_of(name, "layers", layers),
        "heads": one_of(name, "heads", heads),
        "width": one_of(name, "width", width),
        "vocabulary": one_of(name, "vocabulary", vocabulary),
        "max_length": one_of(name, "max_length", max_length),
        "feeds": options_of(name, "feeds", feeds),
        "operators": operators_of(name, operators),
        "pool": pool,
        "dropout": share_below_one(name, "dropout", dropout),
    }
    divided(name, config["width"], config["heads"])
    for size, least in (("vocabulary", LEAST), ("max_length", 4)):
        if config[size] < least:
            said = f"{size}={config[size]} of the space {name!r}"
            raise UsageError(f"{said} must be {least} or more.")
    if pool not in POOLS:
        raise UsageError(f"pool={pool!r} of the space {name!r} must be {' or '.join(POOLS)}.")
    return TextHeads(config)
