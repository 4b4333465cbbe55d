"""Transformer encoders of ordinary modules, whose layers may differ in heads and width.

BERT (Devlin et al. 2019), RoBERTa and DistilBERT are of this form: embeddings, layers of
self-attention (Vaswani et al. 2017, arXiv 1706.03762) and feed-forward blocks, a head on the first
token. ``norm_first`` puts the norms before the blocks, as ViT and wav2vec 2.0 have it.

Blocks work on states of fewer features than they have weights for, by the first rows and columns
of these, so that a narrower encoder is a view of a wider one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class EncoderSpec:
    """What all encoders of a space have in common, and the largest size of their layers.

    Attributes:
        hidden: Features between the blocks.
        heads: Heads of each layer.
        width: Features inside each feed-forward block.
        layers: Layers.
        vocabulary: Number of tokens.
        positions: Rows of the table of positions.
        types: Rows of the table of segments; 0 where there is none.
        eps: Of the layer norms.
        activation: Inside the feed-forward blocks, of :data:`ACTIVATIONS`.
        head_activation: Of the classifier's first layer.
        dropout: Behind each block and the embeddings.
        attention_dropout: Of the attention's weights.
        pad: Token that fills a batch.
        cls: First token of each text.
        sep: Last token of each text.
        first_position: Position of the first token; where not 0 padding is not counted, as in
            RoBERTa.
        norm_first: Whether norms stand before the blocks.
        std: Standard deviation of fresh weights.
        family: The ``model_type`` in transformers that it was read from.
        per_head: Features of a head; 0 where they are ``hidden / heads``.
    """

    hidden: int
    heads: int
    width: int
    layers: int
    vocabulary: int
    positions: int
    types: int = 0
    eps: float = 1e-12
    activation: str = "gelu"
    head_activation: str = "tanh"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    pad: int = 0
    cls: int = 1
    sep: int = 2
    first_position: int = 0
    norm_first: bool = False
    std: float = 0.02
    family: str = "bert"
    per_head: int = 0

    @property
    def head_size(self) -> int:
        """Features of a head."""
        return self.per_head or self.hidden // self.heads

    def narrowed(self, hidden: int) -> "EncoderSpec":
        """The same with so many features between the blocks, and heads as they are."""
        if hidden == self.hidden:
            return self
        return replace(self, hidden=hidden, per_head=self.head_size)

    @property
    def longest(self) -> int:
        """Tokens that a text may have."""
        return self.positions - self.first_position


@dataclass(frozen=True)
class LayerSize:
    """The size of a layer.

    Attributes:
        heads: Heads; 0 leaves the attention out.
        width: Features inside the feed-forward block; 0 leaves it out.
    """

    heads: int
    width: int


def attend(
    x: Tensor,
    keep: Tensor,
    project_in: Sequence[tuple[Tensor, Tensor]],
    project_out: tuple[Tensor, Tensor],
    heads: int,
    head_size: int,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax self-attention of the first heads of a projection.

    The weights of fewer heads than there are in the projection are views of it. Attention is
    computed here alone, save where :mod:`nas_domains.nn.elastic.attend` has a kernel for it.

    Args:
        x: [B, T, D].
        keep: Tokens that are attended to, bool [B, T]; at least one in each row.
        project_in: Weight [H * head_size, D or more] and bias [H * head_size] of query, key and
            value.
        project_out: Weight [D or more, H * head_size] and bias [D or more].
        heads: How many heads are used, 1 to H.
        head_size: Features of a head.
        dropout: Of the attention's weights.

    Returns:
        [B, T, D].
    """
    batch, tokens, features = x.shape
    n = heads * head_size
    q, k, v = (
        functional.linear(x, w[:n, :features], b[:n])
        .view(batch, tokens, heads, head_size)
        .transpose(1, 2)
        for w, b in project_in
    )
    mixed = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=keep[:, None, None, :], dropout_p=dropout
    )
    joined = mixed.transpose(1, 2).reshape(batch, tokens, n)
    weight, bias = project_out
    return functional.linear(joined, weight[:features, :n], bias[:features])


class Norm(nn.LayerNorm):
    """A layer norm over the last dimension, of as many features as the states have."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> the same, by the first D weights and biases."""
        features = x.shape[-1]
        return functional.layer_norm(
            x, (features,), self.weight[:features], self.bias[:features], self.eps
        )


class Skip(nn.Module):
    """Stands for a block that is left out."""

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """[B, T, D] -> the same."""
        return x


class AttentionBlock(nn.Module):
    """Self-attention with its norm and shortcut.

    Args:
        spec: Of the encoder.
        heads: Number of heads.
    """

    def __init__(self, spec: EncoderSpec, heads: int) -> None:
        super().__init__()
        self.spec, self.heads = spec, heads
        inner = heads * spec.head_size
        self.query = nn.Linear(spec.hidden, inner)
        self.key = nn.Linear(spec.hidden, inner)
        self.value = nn.Linear(spec.hidden, inner)
        self.out = nn.Linear(inner, spec.hidden)
        self.norm = Norm(spec.hidden, eps=spec.eps)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(
        self,
        x: Tensor,
        keep: Tensor,
        heads: int | None = None,
        attend: Callable[..., Tensor] = attend,
    ) -> Tensor:
        """[B, T, D] -> the same, by the first heads; all where None.

        Another way to compute it may be given, of the same arguments.
        """
        shortcut = x
        if self.spec.norm_first:
            x = self.norm(x)
        x = attend(
            x,
            keep,
            [(p.weight, p.bias) for p in (self.query, self.key, self.value)],
            (self.out.weight, self.out.bias),
            self.heads if heads is None else heads,
            self.spec.head_size,
            self.spec.attention_dropout if self.training else 0.0,
        )
        x = shortcut + self.dropout(x)
        return x if self.spec.norm_first else self.norm(x)


class FeedForwardBlock(nn.Module):
    """Two linear layers around an activation, with their norm and shortcut.

    Args:
        spec: Of the encoder.
        width: Features inside.
    """

    def __init__(self, spec: EncoderSpec, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.inner = nn.Linear(spec.hidden, width)
        self.activation = ACTIVATIONS[spec.activation]()
        self.outer = nn.Linear(width, spec.hidden)
        self.norm = Norm(spec.hidden, eps=spec.eps)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x: Tensor, keep: Tensor, width: int | None = None) -> Tensor:
        """[B, T, D] -> the same, by the first features inside; all where None."""
        shortcut, features = x, x.shape[-1]
        if self.spec.norm_first:
            x = self.norm(x)
        inner, outer = self.inner, self.outer
        x = self.activation(
            functional.linear(x, inner.weight[:width, :features], inner.bias[:width])
        )
        x = functional.linear(x, outer.weight[:features, :width], outer.bias[:features])
        x = shortcut + self.dropout(x)
        return x if self.spec.norm_first else self.norm(x)


class EncoderLayer(nn.Module):
    """An attention block and a feed-forward block.

    Args:
        attention: (x [B, T, D], keep [B, T]) -> [B, T, D].
        feed_forward: The same.
    """

    def __init__(self, attention: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """[B, T, D] -> the same."""
        x = self.attention(x, keep)
        out: Tensor = self.feed_forward(x, keep)
        return out


class Embeddings(nn.Module):
    """The sum of what tokens, positions and segments mean.

    Args:
        spec: Of the encoder.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.words = nn.Embedding(spec.vocabulary, spec.hidden)
        self.positions = nn.Embedding(spec.positions, spec.hidden)
        self.types = nn.Embedding(spec.types, spec.hidden) if spec.types else None
        self.norm = Norm(spec.hidden, eps=spec.eps)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(
        self, ids: Tensor, types: Tensor | None = None, hidden: int | None = None
    ) -> Tensor:
        """Tokens int64 [B, T] -> [B, T, D], the first ``hidden`` features; all where None.

        Segments are read off the tokens where they are not given.
        """
        spec = self.spec
        x = functional.embedding(ids, self.words.weight[:, :hidden])
        if self.types is not None:
            types = self.segments(ids) if types is None else types
            x = x + functional.embedding(types, self.types.weight[:, :hidden])
        if spec.first_position:
            real = (ids != spec.pad).long()
            places = real.cumsum(1) * real + spec.first_position - 1
        else:
            places = torch.arange(ids.shape[1], device=ids.device)
        x = x + functional.embedding(places, self.positions.weight[:, :hidden])
        out: Tensor = self.dropout(self.norm(x))
        return out

    def segments(self, ids: Tensor) -> Tensor:
        """Segment of each token int64 [B, T]: 0 up to the first separator, 1 behind it."""
        if self.spec.types < 2:
            return torch.zeros_like(ids)
        ends = (ids == self.spec.sep).long()
        return (ends.cumsum(1) - ends).clamp(max=1)


class Encoder(nn.Module):
    """Embeddings and layers.

    Args:
        spec: What does not depend on the sizes.
        layers: One after the other.
    """

    def __init__(self, spec: EncoderSpec, layers: Sequence[EncoderLayer]) -> None:
        super().__init__()
        self.embeddings: Any = Embeddings(spec)
        self.layers = nn.ModuleList(layers)
        self.norm = Norm(spec.hidden, eps=spec.eps) if spec.norm_first else None

    @property
    def spec(self) -> EncoderSpec:
        """What does not depend on the sizes of the layers."""
        found: EncoderSpec = self.embeddings.spec
        return found

    def forward(
        self, ids: Tensor, keep: Tensor | None = None, types: Tensor | None = None
    ) -> Tensor:
        """Tokens int64 [B, T] -> states [B, T, D].

        Args:
            ids: The tokens, filled up with the padding token.
            keep: Tokens that count, bool [B, T]; those that are no padding where None.
            types: Segments int64 [B, T]; see :meth:`Embeddings.segments` where None.
        """
        keep = ids != self.spec.pad if keep is None else keep
        x: Tensor = self.embeddings(ids, types)
        for layer in self.layers:
            x = layer(x, keep)
        return x if self.norm is None else self.norm(x)


class EncoderClassifier(nn.Module):
    """An encoder with ``layers``, and a head whose last linear layer is ``classifier``."""

    encoder: nn.Module
    head: nn.Module


def made_up(spec: EncoderSpec, lengths: Sequence[int]) -> Tensor:
    """Tokens of texts that mean nothing, filled up to the longest: int64 [B, T]."""
    special = {spec.pad, spec.cls, spec.sep}
    words = [token for token in range(spec.vocabulary) if token not in special][:1000]
    batch = torch.full((len(lengths), max(lengths)), spec.pad)
    for row, length in enumerate(lengths):
        middle = [words[(7 * i + row) % len(words)] for i in range(length - 2)]
        batch[row, :length] = torch.tensor([spec.cls, *middle, spec.sep][:length])
    return batch


def draw_weights(module: nn.Module, std: float) -> None:
    """Draws weights as BERT does: normal, biases zero, norms one."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def encoder_of(spec: EncoderSpec, sizes: Sequence[LayerSize]) -> Encoder:
    """The plain encoder of these sizes."""
    return Encoder(spec, plain_layers(spec, sizes))


def plain_layers(spec: EncoderSpec, sizes: Sequence[LayerSize]) -> list[EncoderLayer]:
    """Layers of these sizes."""
    return [
        EncoderLayer(
            AttentionBlock(spec, size.heads) if size.heads else Skip(),
            FeedForwardBlock(spec, size.width) if size.width else Skip(),
        )
        for size in sizes
    ]
