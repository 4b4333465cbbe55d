"""Our encoders as models of transformers, for ``AutoModel.from_pretrained``."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BaseModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from ..core.hand_back import labels_of
from ..nn.elastic.attention import sizes_of
from ..nn.encoder import EncoderSpec, LayerSize, encoder_of
from ..nn.text_classifier import ClassifierHead, TextClassifier, TokenHead
from .families import KINDS

_TINY = EncoderSpec(hidden=1, heads=1, width=1, layers=0, vocabulary=1, positions=1)


class NasEncoderConfig(PreTrainedConfig):  # type: ignore[misc]
    """Form and sizes of an encoder.

    Args:
        spec: Fields of :class:`nas_domains.nn.encoder.EncoderSpec`.
        layer_heads: Heads of each layer; 0 where it has no attention.
        layer_widths: Features inside each feed-forward block; 0 where there is none.
        **kwargs: Those of every configuration of transformers.
    """

    model_type = "nas_encoder"

    def __init__(
        self,
        spec: dict[str, Any] | None = None,
        layer_heads: Sequence[int] = (),
        layer_widths: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        self.spec = dict(spec or asdict(_TINY))
        self.layer_heads, self.layer_widths = list(layer_heads), list(layer_widths)
        super().__init__(**kwargs)

    @property
    def encoder_spec(self) -> EncoderSpec:
        """The form."""
        return EncoderSpec(**self.spec)

    @property
    def sizes(self) -> list[LayerSize]:
        """The size of each layer."""
        pairs = zip(self.layer_heads, self.layer_widths, strict=True)
        return [LayerSize(heads, width) for heads, width in pairs]

    @property
    def hidden_size(self) -> int:
        """Features between the blocks, by the name that other code asks for."""
        return int(self.spec["hidden"])


class NasEncoderPreTrained(PreTrainedModel):  # type: ignore[misc]
    """What both models have in common."""

    config_class = NasEncoderConfig
    base_model_prefix = "model"

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.spec["std"])
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


class NasEncoderModel(NasEncoderPreTrained):
    """An encoder without a classifier."""

    def __init__(self, config: NasEncoderConfig) -> None:
        super().__init__(config)
        self.encoder = encoder_of(config.encoder_spec, config.sizes)
        self.post_init()

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


class NasEncoderForSequenceClassification(NasEncoderPreTrained):
    """An encoder with a classifier on its first token."""

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


class NasEncoderForTokenClassification(NasEncoderPreTrained):
    """An encoder with a classifier on each token."""

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


def wrap(network: TextClassifier, classes: Sequence[str]) -> NasEncoderPreTrained:
    """A model of transformers with a copy of a network's weights."""
    sizes = sizes_of(network.encoder.layers)
    config = NasEncoderConfig(
        asdict(network.encoder.spec),
        [size.heads for size in sizes],
        [size.width for size in sizes],
        **labels_of(classes, network.head.classifier.out_features),
        pad_token_id=network.encoder.spec.pad,
        architectures=[f"NasEncoder{KINDS[network.each]}"],
    )
    kinds: dict[str, Any] = {
        "text": NasEncoderForSequenceClassification,
        "token": NasEncoderForTokenClassification,
    }
    made: NasEncoderPreTrained = kinds[network.each](config)
    with torch.no_grad():
        made.model.encoder.load_state_dict(network.encoder.state_dict())
        made.head.load_state_dict(network.head.state_dict())
    made.eval()
    return made


def register() -> None:
    """Makes the automatic classes of transformers know ours; once is enough."""
    AutoConfig.register("nas_encoder", NasEncoderConfig, exist_ok=True)
    AutoModel.register(NasEncoderConfig, NasEncoderModel, exist_ok=True)
    AutoModelForSequenceClassification.register(
        NasEncoderConfig, NasEncoderForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        NasEncoderConfig, NasEncoderForTokenClassification, exist_ok=True
    )
