"""Our encoders of recordings as models of transformers, for ``AutoModel.from_pretrained``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from ..core.hand_back import labels_of
from ..nn.elastic.attention import sizes_of
from ..nn.encoder import EncoderSpec, LayerSize
from .classifier import PATCHES, SpeechClassifier, encoder_of, head_of
from .patches import SpectrumEncoder
from .waves import WaveEncoder

_TINY = {
    "model_type": "wav2vec2",
    "hidden_size": 2,
    "num_attention_heads": 1,
    "intermediate_size": 1,
    "conv_dim": [1],
    "conv_kernel": [2],
    "conv_stride": [2],
    "num_feat_extract_layers": 1,
    "num_conv_pos_embeddings": 2,
    "num_conv_pos_embedding_groups": 1,
    "feat_extract_norm": "group",
}


class NasWaveConfig(PreTrainedConfig):  # type: ignore[misc]
    """Form and sizes of an encoder of recordings.

    Args:
        spec: Fields of :class:`nas_domains.nn.encoder.EncoderSpec`.
        base: The configuration of the model that it came from.
        layer_heads: Heads of each layer; 0 where it has no attention.
        layer_widths: Features inside each feed-forward block; 0 where there is none.
        **kwargs: Those of every configuration of transformers.
    """

    model_type = "nas_wave"

    def __init__(
        self,
        spec: dict[str, Any] | None = None,
        base: dict[str, Any] | None = None,
        layer_heads: Sequence[int] = (),
        layer_widths: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        tiny = EncoderSpec(2, 1, 1, 0, 0, 0, family="wav2vec2")
        self.spec, self.base = dict(spec or asdict(tiny)), dict(base or _TINY)
        self.layer_heads, self.layer_widths = list(layer_heads), list(layer_widths)
        super().__init__(**kwargs)

    def encoder(self) -> WaveEncoder | SpectrumEncoder:
        """A plain encoder of this form, with fresh weights."""
        pairs = zip(self.layer_heads, self.layer_widths, strict=True)
        sizes = [LayerSize(heads, width) for heads, width in pairs]
        return encoder_of(EncoderSpec(**self.spec), self.base, sizes)

    def arranged(self, input_values: Tensor) -> Tensor:
        """Inputs as transformers has them -> as the encoder takes them.

        Samples stay as they are; spectrograms [B, frames, bands] become [B, 1, bands, frames].
        """
        if self.base["model_type"] != PATCHES:
            return input_values
        return input_values.transpose(1, 2)[:, None]

    @property
    def hidden_size(self) -> int:
        """Features between the blocks, by the name that other code asks for."""
        return int(self.spec["hidden"])


class NasWavePreTrained(PreTrainedModel):  # type: ignore[misc]
    """What both models have in common."""

    config_class = NasWaveConfig
    base_model_prefix = "model"
    main_input_name = "input_values"

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.config.spec["std"])
            nn.init.zeros_(module.bias)


class NasWaveModel(NasWavePreTrained):
    """An encoder without a classifier."""

    def __init__(self, config: NasWaveConfig) -> None:
        super().__init__(config)
        self.encoder = config.encoder()
        self.post_init()

    def forward(self, input_values: Tensor, **_: Any) -> BaseModelOutput:
        """Samples [B, S], zeros behind each recording, or spectrograms [B, frames, bands].

        Returns:
            ``last_hidden_state`` [B, T, D].
        """
        return BaseModelOutput(self.encoder(self.config.arranged(input_values))[0])


class NasWaveForAudioClassification(NasWavePreTrained):
    """An encoder with a classifier."""

    def __init__(self, config: NasWaveConfig) -> None:
        super().__init__(config)
        self.model = NasWaveModel(config)
        self.head = head_of(EncoderSpec(**config.spec), config.base, config.num_labels)
        self.post_init()

    def forward(
        self, input_values: Tensor, labels: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Inputs as of the encoder -> ``logits`` [B, labels], and ``loss``."""
        logits = self.head(*self.model.encoder(self.config.arranged(input_values)))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def wrap(
    network: SpeechClassifier, base: Mapping[str, Any], classes: Sequence[str]
) -> NasWaveForAudioClassification:
    """A model of transformers with a copy of a network's weights."""
    sizes = sizes_of(network.encoder.layers)
    config = NasWaveConfig(
        asdict(network.encoder.spec),
        dict(base),
        [size.heads for size in sizes],
        [size.width for size in sizes],
        **labels_of(classes, network.head.classifier.out_features),
        architectures=["NasWaveForAudioClassification"],
    )
    made = NasWaveForAudioClassification(config)
    with torch.no_grad():
        made.model.encoder.load_state_dict(network.encoder.state_dict())
        made.head.load_state_dict(network.head.state_dict())
    made.eval()
    return made


def register() -> None:
    """Makes the automatic classes of transformers know ours; once is enough."""
    AutoConfig.register("nas_wave", NasWaveConfig, exist_ok=True)
    AutoModel.register(NasWaveConfig, NasWaveModel, exist_ok=True)
    AutoModelForAudioClassification.register(
        NasWaveConfig, NasWaveForAudioClassification, exist_ok=True
    )
