"""Fewer features between the blocks of an encoder of texts: what stands around its layers.

The blocks follow the states that they are given; embeddings and head are told, as elastic layers
of the size ``hidden``. A norm over fewer features is another norm, so that a narrower network is
no mere part of the whole one: it has to be trained. Which features go first is told by the slope
of a gate behind all norms at once.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..encoder import AttentionBlock, Embeddings, EncoderSpec, FeedForwardBlock, Norm
from ..text_classifier import ClassifierHead, TextClassifier, TokenHead
from .base import Elastic, first_of

PARTS = ("encoder.embeddings", "head")
"""What is elastic beside the layers."""


class ElasticEmbeddings(Elastic):
    """Embeddings of the first features; the only size is ``hidden``.

    Args:
        embeddings: The plain ones of all features.
    """

    def __init__(self, embeddings: Embeddings) -> None:
        super().__init__(embeddings, {"hidden": embeddings.spec.hidden})

    @property
    def spec(self) -> EncoderSpec:
        """Of the whole encoder."""
        found: EncoderSpec = self.whole.spec
        return found

    def forward(self, ids: Tensor, types: Tensor | None = None) -> Tensor:
        """Tokens int64 [B, T] -> [B, T, hidden]."""
        out: Tensor = self.whole(ids, types, self.active["hidden"])
        return out

    def extract(self) -> nn.Module:
        """The plain embeddings; see :meth:`Elastic.extract`."""
        with torch.device("meta"):
            layer = Embeddings(self.spec.narrowed(self.active["hidden"]))
        return first_of(self.whole, layer)


class ElasticHead(Elastic):
    """A classifier on states of the first features; the only size is ``hidden``.

    Args:
        head: The plain one of all features.
        spec: Of the encoder.
    """

    def __init__(self, head: ClassifierHead | TokenHead, spec: EncoderSpec) -> None:
        super().__init__(head, {"hidden": spec.hidden})
        self.spec = spec

    def forward(self, states: Tensor, keep: Tensor) -> Tensor:
        """States [B, T, hidden] and the tokens that count [B, T] -> [B, outputs, ...]."""
        scores: Tensor = self.whole(states, keep)
        return scores

    def extract(self) -> nn.Module:
        """The plain head; see :meth:`Elastic.extract`."""
        spec = self.spec.narrowed(self.active["hidden"])
        with torch.device("meta"):
            layer = type(self.whole)(spec, self.whole.classifier.out_features)
        return first_of(self.whole, layer)


def make_hidden_elastic(network: TextClassifier) -> None:
    """Makes what stands around the layers of a plain network elastic, in place."""
    network.head = ElasticHead(network.head, network.encoder.spec)  # type: ignore[assignment]
    network.encoder.embeddings = ElasticEmbeddings(network.encoder.embeddings)


def hidden_scores(
    network: TextClassifier,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """How much the loss would change, to first order, were a feature off behind all norms.

    As :func:`~nas_domains.nn.elastic.importance.taylor_scores`, with one gate for a feature in all
    norms: what a norm gives is multiplied by it as its weight and its bias are.

    Args:
        network: A plain one; its mode is left as it was.
        batches: Inputs and labels on the network's device.
        loss: (output, y) -> scalar.

    Returns:
        ``hidden`` and ``dense``, the features inside the head where it has such: scores float64,
        0 or more.
    """
    norms = [m for m in network.encoder.modules() if isinstance(m, Norm)]
    last = network.head.classifier.weight
    leaves = [last] + [t for norm in norms for t in (norm.weight, norm.bias)]
    hidden = network.encoder.spec.hidden
    scores = {name: torch.zeros(hidden, dtype=torch.float64) for name in ("hidden", "dense")}
    was_training, seen = network.training, 0
    network.eval()
    for x, y in batches:
        seen += 1
        slopes = torch.autograd.grad(loss(network(x), y), leaves)
        products = [(t.detach() * s).double() for t, s in zip(leaves, slopes, strict=True)]
        scores["dense"] += products[0].sum(0).abs().cpu()
        scores["hidden"] += torch.stack(products[1:]).sum(0).abs().cpu()
    network.train(was_training)
    return {name: score / max(1, seen) for name, score in scores.items()}


@torch.no_grad()
def put_hidden_in_order(network: TextClassifier, scores: dict[str, Tensor]) -> None:
    """Puts the features with the largest scores first; what the network gives is the same.

    Args:
        network: A plain one, changed in place.
        scores: Of :func:`hidden_scores`.
    """
    device = network.head.classifier.weight.device
    hidden, dense = (
        torch.argsort(scores[name], descending=True, stable=True).to(device)
        for name in ("hidden", "dense")
    )

    def columns(*layers: Any) -> None:
        for layer in layers:
            layer.weight.copy_(layer.weight[:, hidden])

    def rows(*layers: Any, order: Tensor = hidden) -> None:
        for layer in layers:
            layer.weight.copy_(layer.weight[order])
            layer.bias.copy_(layer.bias[order])

    for module in network.encoder.modules():
        if isinstance(module, nn.Embedding):
            columns(module)
        elif isinstance(module, Norm):
            rows(module)
        elif isinstance(module, AttentionBlock):
            columns(module.query, module.key, module.value)
            rows(module.out)
        elif isinstance(module, FeedForwardBlock):
            columns(module.inner)
            rows(module.outer)
    if isinstance(network.head, ClassifierHead):
        columns(network.head.dense)
        rows(network.head.dense, order=dense)
        last = network.head.classifier
        last.weight.copy_(last.weight[:, dense])
    else:
        columns(network.head.classifier)
