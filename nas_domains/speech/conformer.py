"""The space ``conformer``: conformers for recordings, head by head."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..core.errors import UsageError
from ..core.limit import CostTable
from ..core.numbers import Numbers, odd, one_of, options_of, share_below_one
from ..hardware.cost import count_params, macs_of
from ..hardware.heads_cost import heads_tables
from ..nn.conformer import Conformer, ConvolutionBlock, conformer_network, halved
from ..nn.encoder import EncoderSpec
from ..nn.head_network import part_blocks
from ..nn.heads_space import HeadsSpace, divided, makers, operators_of
from ..nn.model_choices import ModelChoices


class Conformers(HeadsSpace):
    """Head operators, and the width of both feed-forward blocks of a layer.

    See the base, and :func:`conformer` for the arguments.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.spec = EncoderSpec(
            hidden=config["width"],
            heads=config["heads"],
            width=config["feeds"][-1],
            layers=config["layers"],
            vocabulary=0,
            positions=0,
            eps=1e-5,
            activation="silu",
            dropout=config["dropout"],
            norm_first=True,
            family="conformer",
        )
        with torch.random.fork_rng(devices=[]):
            super().__init__("conformer", _network(self.spec, config, 8, 2), config)

    def whole(self, input_shape: tuple[int, ...], outputs: int) -> Conformer:
        """A new network with its choices; see the base."""
        self._check_input(input_shape)
        network = _network(self.spec, self.config, input_shape[1], outputs)
        ModelChoices(network)  # tells them their names
        return network

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """The exact tables of params and macs; see :meth:`SearchSpace.cost_tables`."""
        self._check_input(input_shape)
        spec, channels = self.spec, self.config["channels"]
        # Of a block of heads the norm and the last bias are there whatever its heads are.
        shared = 3 * spec.hidden
        # Networks are made to be counted: what is drawn later must not depend on it.
        with torch.random.fork_rng(devices=[]):
            empty = Conformer(spec, [], input_shape[1], channels, outputs)
            states = torch.zeros((1, halved(halved(input_shape[2])), spec.hidden))
            convolution = ConvolutionBlock(spec, self.config["kernel"])
            norm = 2 * spec.hidden
            heads, feeds = part_blocks(spec, self.operators, self.feeds)
            return heads_tables(
                self.choices,
                {
                    "params": count_params(empty)
                    + spec.layers * (shared + norm + count_params(convolution)),
                    "macs": macs_of(empty, torch.zeros((1, *input_shape)))
                    + spec.layers * macs_of(convolution, states),
                },
                heads,
                {name: _Twice(block, feeds[name]) for name, block in self._feeds().items()},
                states,
                shared,
            )

    def _feeds(self) -> Mapping[str, nn.Module]:
        return part_blocks(self.spec, {}, self.feeds)[1]

    def _check_input(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 3 or input_shape[0] != 1 or min(input_shape) < 1:
            raise UsageError(
                f"The space {self.name!r} takes spectrograms (1, bands, frames), not inputs of "
                f"shape {tuple(input_shape)}: give it a task of recordings."
            )


def _network(
    spec: EncoderSpec, config: Mapping[str, Any], bands: int, outputs: int
) -> Conformer:
    return conformer_network(
        spec,
        makers(config),
        config["feeds"],
        kernel=config["kernel"],
        bands=bands,
        channels=config["channels"],
        outputs=outputs,
    )


class _Twice(nn.Module):
    """Both feed-forward blocks of a layer."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(self.first(x, None), None)
        return out


def conformer(
    layers: int = 2,
    heads: int = 4,
    width: int = 32,
    feeds: Numbers = "32-64-128",
    operators: str | Sequence[str] = "softmax-local-linear-conv-none",
    kernel: int = 9,
    channels: int = 8,
    dropout: float = 0.1,
) -> Conformers:
    """The space of conformers whose heads each have an operator of their own.

    Several options are written with hyphens, e.g. ``conformer:feeds=32-64``.

    Args:
        layers: Layers.
        heads: Heads of a layer, a divisor of the width.
        width: Features of a moment, a quarter as many moments as frames.
        feeds: Features that both feed-forward blocks of a layer may have inside.
        operators: What a head may be, of ``softmax``, ``local``, ``linear``, ``conv``, ``none``.
        kernel: Moments that the convolution of a layer sees, an odd number.
        channels: Channels of the two convolutions that shorten a recording.
        dropout: Behind each block.

    Raises:
        UsageError: A size that is no number in range, heads that do not divide the width, an even
            kernel, or an operator that is not known.
    """
    name = "conformer"
    config: dict[str, Any] = {
        "layers": one_of(name, "layers", layers),
        "heads": one_of(name, "heads", heads),
        "width": one_of(name, "width", width),
        "feeds": options_of(name, "feeds", feeds),
        "operators": operators_of(name, operators),
        "kernel": one_of(name, "kernel", kernel),
        "channels": one_of(name, "channels", channels),
        "dropout": share_below_one(name, "dropout", dropout),
    }
    divided(name, config["width"], config["heads"])
    odd(name, "kernel", [config["kernel"]])
    return Conformers(config)
