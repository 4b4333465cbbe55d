"""Elastic blocks of a transformer: attention of the first heads, feed-forward of the first units.

Both may be left out, so that a layer with neither is gone and the depth is elastic too. What comes
first stays longest: :mod:`nas_domains.nn.elastic.importance` puts heads and units in order.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..encoder import (
    AttentionBlock,
    EncoderClassifier,
    EncoderLayer,
    FeedForwardBlock,
    LayerSize,
    Skip,
)
from .attend import attend_in_place
from .base import Elastic, first_of
from .network import Sizes


class ElasticAttention(Elastic):
    """An attention block over its first heads.

    Its sizes are ``heads``, from 0 on, and ``hidden``, the features between the blocks, which the
    states tell it as it runs.

    Args:
        block: The plain block with all heads.
    """

    def __init__(self, block: AttentionBlock) -> None:
        largest = {"heads": block.heads, "hidden": block.spec.hidden}
        super().__init__(block, largest, {"heads": 0})

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """[B, T, D] -> the same; keep is bool [B, T]."""
        heads = self.active["heads"]
        if not heads:
            return x
        out: Tensor = self.whole(x, keep, heads, attend_in_place)
        return out

    def extract(self) -> nn.Module:
        """The plain block; see :meth:`Elastic.extract`."""
        heads = self.active["heads"]
        if not heads:
            return Skip().train(self.training)
        with torch.device("meta"):
            block = AttentionBlock(self.whole.spec.narrowed(self.active["hidden"]), heads)
        return first_of(self.whole, block)


class ElasticFeedForward(Elastic):
    """A feed-forward block over its first units.

    Its sizes are ``width``, from 0 on, and ``hidden``, as an :class:`ElasticAttention` has it.

    Args:
        block: The plain block with all units.
    """

    def __init__(self, block: FeedForwardBlock) -> None:
        largest = {"width": block.inner.out_features, "hidden": block.spec.hidden}
        super().__init__(block, largest, {"width": 0})

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """[B, T, D] -> the same."""
        width = self.active["width"]
        if not width:
            return x
        out: Tensor = self.whole(x, keep, width)
        return out

    def extract(self) -> nn.Module:
        """The plain block; see :meth:`Elastic.extract`."""
        width = self.active["width"]
        if not width:
            return Skip().train(self.training)
        with torch.device("meta"):
            block = FeedForwardBlock(self.whole.spec.narrowed(self.active["hidden"]), width)
        return first_of(self.whole, block)


Network = TypeVar("Network", bound=EncoderClassifier)


def make_elastic(network: Network) -> Network:
    """Makes the blocks of a plain network elastic, in place."""
    for layer in layers_of(network.encoder):
        if isinstance(layer.attention, AttentionBlock):
            layer.attention = ElasticAttention(layer.attention)
        if isinstance(layer.feed_forward, FeedForwardBlock):
            layer.feed_forward = ElasticFeedForward(layer.feed_forward)
    return network


def layers_of(encoder: nn.Module) -> list[EncoderLayer]:
    """The layers of an encoder."""
    found = encoder.get_submodule("layers").children()
    return [layer for layer in found if isinstance(layer, EncoderLayer)]


def elastic_sizes(sizes: list[LayerSize], hidden: Mapping[str, int]) -> Sizes:
    """What the blocks of :func:`make_elastic` are set to.

    Args:
        sizes: Of the layers.
        hidden: ``{"hidden": ...}``, or nothing for all features between the blocks.
    """
    found: dict[str, dict[str, int]] = {}
    for i, size in enumerate(sizes):
        found[f"encoder.layers.{i}.attention"] = {"heads": size.heads, **hidden}
        found[f"encoder.layers.{i}.feed_forward"] = {"width": size.width, **hidden}
    return found


def sizes_of(layers: Iterable[nn.Module]) -> list[LayerSize]:
    """The sizes of plain layers."""
    sizes = []
    for layer in layers:
        attention, inside = layer.get_submodule("attention"), layer.get_submodule("feed_forward")
        heads = attention.heads if isinstance(attention, AttentionBlock) else 0
        width = inside.inner.out_features if isinstance(inside, FeedForwardBlock) else 0
        sizes.append(LayerSize(heads, width))
    return sizes
