"""Networks of texts from scratch, whose layers are made of head operators.

Embeddings, layers of a :class:`~nas_domains.nn.heads.Heads` block and a feed-forward block with
their norms in front (Xiong et al. 2020, arXiv 2002.04745), a mean over the tokens, the first of
them or all of them, a linear classifier.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .encoder import Embeddings, EncoderSpec, FeedForwardBlock, made_up
from .head_operators import OPERATORS, Maker
from .heads import Heads
from .one_of import OneOf
from .text_classifier import by_token

POOLS = ("mean", "cls", "none")
"""What stands for a text: the mean over its tokens, or the first of them; with "none" each token
stands for itself."""


class HeadsBlock(nn.Module):
    """Head operators with their norm and shortcut.

    Args:
        spec: Of the network.
        heads: The layer of heads.
    """

    def __init__(self, spec: EncoderSpec, heads: Heads) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(spec.hidden, eps=spec.eps)
        self.heads = heads
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, T, D] and lengths [B] -> [B, T, D]."""
        out: Tensor = x + self.dropout(self.heads(self.norm(x), lengths))
        return out


class HeadsLayer(nn.Module):
    """A block of heads and a feed-forward block.

    Args:
        spec: Of the network.
        heads: The layer of heads.
        feeds: Features inside the feed-forward block; where there are several, a choice.
        label: What the label of that choice begins with.
    """

    def __init__(self, spec: EncoderSpec, heads: Heads, feeds: Sequence[int], label: str) -> None:
        super().__init__()
        self.heads = HeadsBlock(spec, heads)
        self.feed = OneOf(
            {str(width): FeedForwardBlock(spec, width) for width in feeds}, f"{label}.feed"
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, D] and lengths [B] -> [B, T, D]."""
        x = self.heads(x, lengths)
        out: Tensor = self.feed(x, lengths)
        return out


class HeadsClassifier(nn.Module):
    """A classifier of texts, or of their tokens.

    Args:
        spec: Its ``heads``, ``width`` and ``layers`` are those of the layers given.
        layers: One after the other.
        outputs: Size of the output.
        pool: One of :data:`POOLS`.
    """

    def __init__(
        self, spec: EncoderSpec, layers: Sequence[nn.Module], outputs: int, pool: str
    ) -> None:
        super().__init__()
        self.spec, self.pool = spec, pool
        self.embeddings = Embeddings(spec)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(spec.hidden, eps=spec.eps)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.hidden, outputs)
        for module in self.embeddings.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=spec.std)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens int64 [B, T], filled up with the padding token -> [B, outputs], or [..., T]."""
        inside = x != self.spec.pad
        lengths = inside.sum(1)
        states: Tensor = self.embeddings(x)
        for layer in self.layers:
            states = layer(states, lengths)
        states = self.norm(states)
        if self.pool == "none":
            return by_token(self.classifier(self.dropout(states)), inside)
        if self.pool == "cls":
            pooled = states[:, 0]
        else:
            total = (states * inside[..., None].to(states.dtype)).sum(1)
            pooled = total / lengths.clamp_min(1)[:, None].to(states.dtype)
        scores: Tensor = self.classifier(self.dropout(pooled))
        return scores

    @property
    def longest(self) -> int:
        """Tokens that a text may have."""
        return self.spec.longest

    def example(self, lengths: Sequence[int]) -> Tensor:
        """A batch of made-up texts of these lengths: int64 [B, longest], on the CPU."""
        return made_up(self.spec, lengths)


def heads_network(
    spec: EncoderSpec,
    operators: Mapping[str, Maker],
    feeds: Sequence[int],
    outputs: int,
    pool: str,
) -> HeadsClassifier:
    """The network with all its choices, ``layer1.head1``, ``layer1.feed`` and so on.

    The first head of each layer is never ``none``.

    Args:
        spec: Of the network.
        operators: What each head may be.
        feeds: Features that a feed-forward block may have inside.
        outputs: Size of the output.
        pool: One of :data:`POOLS`.
    """
    layers = []
    for i in range(1, 1 + spec.layers):
        heads = Heads(spec.hidden, spec.heads, operators, label=f"layer{i}", busy=1)
        layers.append(HeadsLayer(spec, heads, feeds, f"layer{i}"))
    return HeadsClassifier(spec, layers, outputs, pool)


def part_blocks(
    spec: EncoderSpec, operators: Mapping[str, Maker], feeds: Sequence[int]
) -> tuple[dict[str, HeadsBlock], dict[str, FeedForwardBlock]]:
    """For each option the block that has it alone, from which its costs are read.

    Returns:
        Operator -> a block of one such head and others that are none; width -> a feed-forward
        block.
    """
    makers = {**OPERATORS, **operators}
    idle = ["none"] * (spec.heads - 1)
    heads = {
        name: HeadsBlock(spec, Heads(spec.hidden, spec.heads, makers, [name, *idle]))
        for name in operators
        if name != "none"
    }
    return heads, {str(width): FeedForwardBlock(spec, width) for width in feeds}
