"""Our encoders as models of transformers, for ``AutoModel.from_pretrained``.

To import this makes the automatic classes of transformers know them.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from transformers.modeling_outputs import (
    BaseModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from ..nn.encoder import Encoder, encoder_of
from ..nn.encoder_models import EncoderConfig, EncoderModel, EncoderPreTrained, filled, form_of
from ..nn.text_classifier import ClassifierHead, TextClassifier, TokenHead
from .families import KINDS


class NasEncoderConfig(EncoderConfig):
    """Form and sizes of an encoder of texts."""

    model_type = "nas_encoder"

    def encoder(self) -> Encoder:
        """See the base."""
        return encoder_of(self.encoder_spec, self.sizes)


class NasEncoderModel(EncoderModel):
    """An encoder without a classifier."""

    config_class = NasEncoderConfig
    encoder: Encoder

    def get_input_embeddings(self) -> nn.Module:
        """The table of tokens."""
        words: nn.Module = self.encoder.embeddings.words
        return words

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutput:
        """Tokens int64 [B, T] -> ``last_hidden_state`` [B, T, D]."""
        keep = None if attention_mask is None else attention_mask.bool()
        return BaseModelOutput(self.encoder(input_ids, keep, token_type_ids))


class NasEncoderForSequenceClassification(EncoderPreTrained):
    """An encoder with a classifier on its first token."""

    config_class = NasEncoderConfig

    def __init__(self, config: NasEncoderConfig) -> None:
        super().__init__(config)
        self.model = NasEncoderModel(config)
        self.head = ClassifierHead(config.encoder_spec, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Tokens int64 [B, T] -> ``logits`` [B, labels], and ``loss`` where labels are given."""
        states = self.model(input_ids, attention_mask, token_type_ids).last_hidden_state
        logits = self.head(states, input_ids != self.config.spec["pad"])
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class NasEncoderForTokenClassification(EncoderPreTrained):
    """An encoder with a classifier on each token."""

    config_class = NasEncoderConfig

    def __init__(self, config: NasEncoderConfig) -> None:
        super().__init__(config)
        self.model = NasEncoderModel(config)
        self.head = TokenHead(config.encoder_spec, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Tokens int64 [B, T] -> ``logits`` [B, T, labels], and ``loss`` where labels are given.

        Tokens that the mask leaves out have zero logits; labels of -100 do not count.
        """
        states = self.model(input_ids, attention_mask, token_type_ids).last_hidden_state
        padding = input_ids == self.config.spec["pad"]
        keep = ~padding if attention_mask is None else attention_mask.bool()
        scores = self.head(states, keep)
        loss = None if labels is None else nn.functional.cross_entropy(scores, labels)
        return TokenClassifierOutput(loss=loss, logits=scores.transpose(1, 2))


def wrap(network: TextClassifier, classes: Sequence[str]) -> EncoderPreTrained:
    """A model of transformers with a copy of a network's weights."""
    config = NasEncoderConfig(
        **form_of(network, classes),
        pad_token_id=network.encoder.spec.pad,
        architectures=[f"NasEncoder{KINDS[network.each]}"],
    )
    kinds: dict[str, Any] = {
        "text": NasEncoderForSequenceClassification,
        "token": NasEncoderForTokenClassification,
    }
    made: EncoderPreTrained = kinds[network.each](config)
    return filled(made, network)


AutoConfig.register("nas_encoder", NasEncoderConfig, exist_ok=True)
AutoModel.register(NasEncoderConfig, NasEncoderModel, exist_ok=True)
AutoModelForSequenceClassification.register(
    NasEncoderConfig, NasEncoderForSequenceClassification, exist_ok=True
)
AutoModelForTokenClassification.register(
    NasEncoderConfig, NasEncoderForTokenClassification, exist_ok=True
)
