"""Encoders with a classifier: of whole texts, by their first token, or of each token."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from .encoder import (
    ACTIVATIONS,
    Encoder,
    EncoderClassifier,
    EncoderSpec,
    LayerSize,
    draw_weights,
    encoder_of,
    made_up,
)


class ClassifierHead(nn.Module):
    """Two linear layers on the state of the first token.

    Args:
        spec: Of the encoder.
        outputs: Size of the output.
    """

    def __init__(self, spec: EncoderSpec, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(spec.hidden, spec.hidden)
        self.activation = ACTIVATIONS[spec.head_activation]()
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.hidden, outputs)

    def forward(self, states: Tensor, keep: Tensor) -> Tensor:
        """[B, T, D] and the tokens that count [B, T] -> [B, outputs]."""
        dense, last, n = self.dense, self.classifier, states.shape[-1]
        x = functional.linear(states[:, 0], dense.weight[:n, :n], dense.bias[:n])
        return functional.linear(self.dropout(self.activation(x)), last.weight[:, :n], last.bias)


class TokenHead(nn.Module):
    """A linear layer on the state of each token.

    Args:
        spec: Of the encoder.
        outputs: Size of the output.
    """

    def __init__(self, spec: EncoderSpec, outputs: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.hidden, outputs)

    def forward(self, states: Tensor, keep: Tensor) -> Tensor:
        """[B, T, D] and the tokens that count [B, T] -> [B, outputs, T]; see :func:`by_token`."""
        last, n = self.classifier, states.shape[-1]
        scores = functional.linear(self.dropout(states), last.weight[:, :n], last.bias)
        return by_token(scores, keep)


def by_token(scores: Tensor, keep: Tensor) -> Tensor:
    """Scores of tokens as a loss takes them, classes first.

    Tokens that do not count have no scores: whatever learns from another network learns nothing
    of them.

    Args:
        scores: [B, T, outputs].
        keep: Tokens that count, bool [B, T].

    Returns:
        [B, outputs, T], zero where tokens do not count.
    """
    return scores.transpose(1, 2).masked_fill(~keep[:, None], 0.0)


HEADS: dict[str, type[ClassifierHead] | type[TokenHead]] = {
    "text": ClassifierHead,
    "token": TokenHead,
}
"""What has a class each -> the head that gives it."""


class TextClassifier(EncoderClassifier):
    """An encoder with a classifier.

    Args:
        encoder: The encoder.
        outputs: Size of the output.
        each: What has a class, one of :data:`HEADS`.
    """

    encoder: Encoder
    head: ClassifierHead | TokenHead

    def __init__(self, encoder: Encoder, outputs: int, each: str = "text") -> None:
        super().__init__()
        self.encoder, self.each = encoder, each
        self.head = HEADS[each](encoder.spec, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens int64 [B, T], filled up with the padding token -> [B, outputs], or [..., T]."""
        keep = x != self.encoder.spec.pad
        scores: Tensor = self.head(self.encoder(x, keep), keep)
        return scores

    @property
    def longest(self) -> int:
        """Tokens that a text may have."""
        return self.encoder.spec.longest

    def example(self, lengths: Sequence[int]) -> Tensor:
        """A batch of made-up texts of these lengths: int64 [B, longest], on the CPU."""
        return made_up(self.encoder.spec, lengths)


def classifier_of(
    spec: EncoderSpec, sizes: Sequence[LayerSize], outputs: int, each: str = "text"
) -> TextClassifier:
    """The plain network of these sizes, with weights from torch's global generator."""
    network = TextClassifier(encoder_of(spec, sizes), outputs, each)
    network.apply(lambda module: draw_weights(module, spec.std))
    return network
