"""Spaces of the parts of a pretrained encoder, whatever it reads."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ..core.architecture import Architecture, Option
from ..core.errors import UsageError
from ..core.limit import CostTable
from ..core.numbers import Numbers
from ..core.pretrained import PretrainedSpace
from ..core.space import Choice
from ..hardware.cost import count_params, macs_of
from ..nn.elastic.attention import elastic_sizes, make_elastic
from ..nn.elastic.base import Elastic
from ..nn.elastic.hidden import PARTS, make_hidden_elastic
from ..nn.elastic.network import ElasticNetwork, Sizes
from ..nn.encoder import (
    AttentionBlock,
    EncoderClassifier,
    EncoderSpec,
    FeedForwardBlock,
    LayerSize,
)
from ..nn.text_classifier import TextClassifier
from .pretrained import prepare_encoder

HIDDEN = "hidden"
"""Name of the choice of the features between the blocks, and of the size of what it cuts."""


class Checkpoint(Protocol):
    """A pretrained encoder: a dataclass."""

    @property
    def path(self) -> str:
        """The folder that it lies in."""

    @property
    def spec(self) -> EncoderSpec:
        """Its form."""

    def network(self, sizes: Sequence[LayerSize], outputs: int) -> EncoderClassifier:
        """A plain network of these sizes, with weights from torch's global generator."""

    def fill(self, network: Any) -> None:
        """Loads the weights into a plain network of the full size.

        Raises:
            UsageError: A weight of the encoder is missing or has another shape.
        """

    def example(self, input_shape: tuple[int, ...]) -> tuple[Tensor, int]:
        """A typical input [1, ...], and the tokens that the layers see of it."""

    def check(self, space: str, input_shape: tuple[int, ...]) -> None:
        """Raises a UsageError for inputs that it cannot read, which names the space."""


class EncoderSpace(PretrainedSpace):
    """Parts of a pretrained encoder: heads and feed-forward width of each layer.

    ``layer1.heads`` and ``layer1.width`` are of the layer nearest to the input; 0 leaves the block
    out, and a layer without both is gone. ``hidden``, where there is such a choice, are the
    features between the blocks of all layers. Options ascend. Which heads, units and features a
    smaller number keeps is decided when a run prepares: those whose loss would be missed most.

    Args:
        name: Of the space.
        checkpoint: The encoder.
        config: ``heads`` and ``widths``, shares of a layer's that may be kept; ``hidden``, shares
            of the features between the layers, all where it is not there; ``tune``, epochs for
            which the whole network is fine-tuned before the search; ``distil``, whether networks
            learn from the whole one beside the labels.
    """

    has_supernet = True

    def __init__(self, name: str, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
        self.checkpoint, spec = checkpoint, checkpoint.spec
        self.heads = _counts(name, "heads", config["heads"], spec.heads)
        self.widths = _counts(name, "widths", config["widths"], spec.width)
        self.hidden = _counts(name, "hidden", config.get("hidden", [1.0]), spec.hidden)
        self.narrows = self.hidden != (spec.hidden,)
        choices = [Choice(HIDDEN, self.hidden)] if self.narrows else []
        for i in range(1, 1 + spec.layers):
            choices.append(Choice(f"layer{i}.heads", self.heads))
            choices.append(Choice(f"layer{i}.width", self.widths))
        super().__init__(name, choices, config)
        self._body: EncoderClassifier | None = None
        self._whole: EncoderClassifier | None = None

    def sizes(self, architecture: Mapping[str, Option]) -> list[LayerSize]:
        """The size of each layer of an architecture."""
        return [
            LayerSize(int(architecture[f"layer{i}.heads"]), int(architecture[f"layer{i}.width"]))
            for i in range(1, 1 + self.checkpoint.spec.layers)
        ]

    def features(self, architecture: Mapping[str, Option]) -> int:
        """The features between the blocks of an architecture."""
        return int(architecture.get(HIDDEN, self.checkpoint.spec.hidden))

    def largest(self) -> Architecture:
        """The most of everything: the whole encoder, where that is among the options."""
        return self.complete({c.name: c.options[-1] for c in self.choices}, None)

    def smallest(self) -> Architecture:
        """The least of each layer that is not nothing, so that a supernet trains all layers."""
        return self._uniform(
            next(filter(None, self.heads)), next(filter(None, self.widths)), self.hidden[0]
        )

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> EncoderClassifier:
        """The plain network of an architecture, with the weights that the whole one has there.

        Before a run has prepared, those of the checkpoint, with a classifier from torch's global
        generator. The whole network always has those that it was fine-tuned to: the paths that a
        supernet trains under a limit change its weights and never run it. See
        :meth:`SearchSpace.build`.
        """
        self.checkpoint.check(self.name, input_shape)
        body = self._elastic(outputs)
        if self._whole is not None and architecture == self.largest():
            body = self._whole
        network = ElasticNetwork(body, self.elastic_sizes).extract(self.architecture(architecture))
        assert isinstance(network, EncoderClassifier)
        return network.train()

    def supernet(self, input_shape: tuple[int, ...], outputs: int) -> ElasticNetwork:
        """The supernet; see :meth:`SearchSpace.supernet`."""
        self.checkpoint.check(self.name, input_shape)
        return ElasticNetwork(copy.deepcopy(self._elastic(outputs)), self.elastic_sizes)

    def elastic_sizes(self, architecture: Architecture) -> Sizes:
        """What the layers of the supernet are set to for an architecture."""
        if not self.narrows:
            return elastic_sizes(self.sizes(architecture), {})
        hidden = {HIDDEN: self.features(architecture)}
        return {
            **elastic_sizes(self.sizes(architecture), hidden),
            **dict.fromkeys(PARTS, hidden),
        }

    def _elastic(self, outputs: int) -> EncoderClassifier:
        """The elastic network that all others are parts of, not to be changed."""
        if self._body is not None:
            head = self._body.head
            head = head.whole if isinstance(head, Elastic) else head
            last = head.get_submodule("classifier")
            if isinstance(last, nn.Linear) and last.out_features == outputs:
                return self._body
        return self._made_elastic(self.whole(outputs))

    def _made_elastic(self, network: EncoderClassifier) -> EncoderClassifier:
        if self.narrows:
            assert isinstance(network, TextClassifier)
            make_hidden_elastic(network)
        return make_elastic(network)

    def whole(self, outputs: int) -> EncoderClassifier:
        """The plain network of all layers with the checkpoint's weights."""
        spec = self.checkpoint.spec
        largest = [LayerSize(spec.heads, spec.width)] * spec.layers
        network = self.checkpoint.network(largest, outputs)
        self.checkpoint.fill(network)
        return network

    def prepare(self, context: Any) -> None:
        """Fine-tunes the whole network, and puts its heads and units in order; see the base.

        The networks that are trained later learn from it where ``distil`` is set.
        """
        prepare_encoder(self, context)

    def adopt(self, supernet: nn.Module) -> None:
        """See the base."""
        assert isinstance(supernet, ElasticNetwork)
        supernet.set_architecture(None)
        body = cast(EncoderClassifier, copy.deepcopy(supernet.body))
        self._body = body.cpu()

    def hold(self, network: EncoderClassifier) -> None:
        """Builds from a plain network of the full size from now on, whose parts are in order."""
        self._body = self._whole = self._made_elastic(network)

    def references(
        self, winner: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> dict[str, Architecture]:
        """The whole network, and one of equal layers as large as the winner within 2 %, or nearly.

        Of several of that size it is the one that keeps the most even shares of heads and width.
        """
        table = self.cost_tables(input_shape, outputs)["params"]
        size, spec, hidden = table.cost(winner), self.checkpoint.spec, self.hidden[-1]

        def unlike(pair: tuple[int, int]) -> tuple[float, float]:
            difference = abs(table.cost(self._uniform(*pair, hidden)) - size) / size
            return difference // 0.02, abs(pair[0] / spec.heads - pair[1] / spec.width)

        uniform = min(((h, w) for h in self.heads for w in self.widths), key=unlike)
        return {"full": self.largest(), "uniform": self._uniform(*uniform, hidden)}

    def _uniform(self, heads: int, width: int, hidden: int) -> Architecture:
        sizes = {"heads": heads, "width": width, HIDDEN: hidden}
        return self.complete({c.name: sizes[_kind(c.name)] for c in self.choices}, None)

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """The exact tables of params and macs; see :meth:`SearchSpace.cost_tables`."""
        self.checkpoint.check(self.name, input_shape)
        # Networks are made to be counted: what is drawn later must not depend on it.
        with torch.random.fork_rng(devices=[]):
            found = {n: self._costs(n, input_shape, outputs) for n in self.hidden}
        layers = [c for c in self.choices if c.name != HIDDEN]
        tables = {}
        for metric in ("params", "macs"):
            around: dict[Option, float] = {n: costs[""][0][metric] for n, costs in found.items()}
            added: dict[str, dict[Option, dict[Option, float]]] = {
                c.name: {
                    n: {o: costs[_kind(c.name)][o][metric] for o in c.options}
                    for n, costs in found.items()
                }
                for c in layers
            }
            if not self.narrows:
                (n,) = self.hidden
                columns = {name: of[n] for name, of in added.items()}
                tables[metric] = CostTable(around[n], columns)
                continue
            given = {name: (HIDDEN, of) for name, of in added.items()}
            tables[metric] = CostTable(0.0, {HIDDEN: around}, given)
        return tables

    def _costs(
        self, hidden: int, input_shape: tuple[int, ...], outputs: int
    ) -> dict[str, dict[Option, dict[str, float]]]:
        """Costs of each option of a layer where there are so many features between the blocks.

        Returns:
            "heads" and "width" -> option -> metric -> cost; and "" -> 0, of all but the layers.
        """
        checkpoint: Any = self.checkpoint
        spec = checkpoint.spec.narrowed(hidden)
        around = replace(checkpoint, spec=spec).network([LayerSize(0, 0)] * spec.layers, outputs)
        example, tokens = checkpoint.example(input_shape)
        x = torch.zeros((1, tokens, hidden))
        kept = torch.ones((1, tokens), dtype=torch.bool)

        def costs(module: nn.Module, x: Tensor) -> dict[str, float]:
            return {"params": count_params(module), "macs": macs_of(module, x)}

        found: dict[str, dict[Option, dict[str, float]]] = {"": {0: costs(around, example)}}
        none = {"params": 0.0, "macs": 0.0}
        makers: dict[str, tuple[tuple[int, ...], Callable[..., nn.Module]]] = {
            "heads": (self.heads, AttentionBlock),
            "width": (self.widths, FeedForwardBlock),
        }
        for kind, (options, make) in makers.items():
            found[kind] = {
                n: costs(_Kept(make(spec, n), kept), x) if n else none for n in options
            }
        return found


class _Kept(nn.Module):
    """A block whose mask is fixed."""

    def __init__(self, block: nn.Module, keep: Tensor) -> None:
        super().__init__()
        self.block, self.keep = block, keep

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x, self.keep)
        return out


def _kind(choice: str) -> str:
    """What a choice is of: heads, width or hidden."""
    return choice.rpartition(".")[2]


def shares(space: str, name: str, given: Numbers) -> list[float]:
    """Reads an option that holds shares, in ascending order.

    Args:
        space: Name of the space, for errors.
        name: Of the option.
        given: One share, several, or a text of several such as "0.5-1".

    Raises:
        UsageError: A share that is none, one that is named twice, or 0 alone.
    """
    parts: Sequence[Any] = [given] if isinstance(given, int | float) else given
    if isinstance(given, str):
        parts = given.split("-")
    found = []
    for part in parts:
        try:
            share = float(part)
        except (TypeError, ValueError):
            share = math.nan
        if not 0 <= share <= 1 or isinstance(part, bool):
            raise UsageError(
                f"{name}={given!r} of the space {space!r} must be shares from 0 to 1, such as "
                "0.5 or 0-0.5-1."
            )
        found.append(share)
    if not found or len(set(found)) < len(found) or not max(found):
        raise UsageError(
            f"{name}={given!r} of the space {space!r} must name shares, none twice and not 0 "
            "alone."
        )
    return sorted(found)


def _counts(space: str, name: str, shares: Sequence[float], whole: int) -> tuple[int, ...]:
    counts = tuple(round(share * whole) for share in shares)
    if len(set(counts)) < len(counts):
        raise UsageError(
            f"{name} of the space {space!r} names one number of {whole} twice: name fewer shares."
        )
    return counts


def encoder_config(
    space: str, checkpoint: str, heads: Numbers, widths: Numbers, tune: object, distil: object
) -> dict[str, Any]:
    """The options of an :class:`EncoderSpace`, checked.

    Args:
        space: Name of the space.
        checkpoint: The folder.
        heads: Shares of a layer's heads.
        widths: Shares of a layer's feed-forward width.
        tune: Epochs of fine-tuning before the search.
        distil: Whether networks learn from the whole one.

    Raises:
        UsageError: One of them is not understood.
    """
    if isinstance(tune, bool) or not isinstance(tune, int) or tune < 0:
        raise UsageError(f"tune={tune!r} of the space {space!r} must be a whole number >= 0.")
    if not isinstance(distil, bool):
        raise UsageError(f"distil={distil!r} of the space {space!r} must be true or false.")
    return {
        "checkpoint": checkpoint,
        "heads": shares(space, "heads", heads),
        "widths": shares(space, "widths", widths),
        "tune": tune,
        "distil": distil,
    }
