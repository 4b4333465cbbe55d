"""Our encoders of recordings as models of transformers, for ``AutoModel.from_pretrained``.

To import this makes the automatic classes of transformers know them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from ..nn.encoder import EncoderSpec
from ..nn.encoder_models import EncoderConfig, EncoderModel, EncoderPreTrained, filled, form_of
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


class NasWaveConfig(EncoderConfig):
    """Form and sizes of an encoder of recordings.

    Args:
        spec: Fields of :class:`nas_domains.nn.encoder.EncoderSpec`.
        base: The configuration of the model that it came from.
        **kwargs: Those of :class:`nas_domains.nn.encoder_models.EncoderConfig`.
    """

    model_type = "nas_wave"
    tiny = EncoderSpec(2, 1, 1, 0, 0, 0, family="wav2vec2")

    def __init__(
        self,
        spec: dict[str, Any] | None = None,
        base: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.base = dict(base or _TINY)
        super().__init__(spec, **kwargs)

    def encoder(self) -> WaveEncoder | SpectrumEncoder:
        """See the base."""
        return encoder_of(self.encoder_spec, self.base, self.sizes)

    def arranged(self, input_values: Tensor) -> Tensor:
        """Inputs as transformers has them -> as the encoder takes them.

        Samples stay as they are; spectrograms [B, frames, bands] become [B, 1, bands, frames].
        """
        if self.base["model_type"] != PATCHES:
            return input_values
        return input_values.transpose(1, 2)[:, None]


class NasWaveModel(EncoderModel):
    """An encoder without a classifier."""

    config_class = NasWaveConfig
    main_input_name = "input_values"

    def forward(self, input_values: Tensor, **_: Any) -> BaseModelOutput:
        """Samples [B, S], zeros behind each recording, or spectrograms [B, frames, bands].

        Returns:
            ``last_hidden_state`` [B, T, D].
        """
        return BaseModelOutput(self.encoder(self.config.arranged(input_values))[0])


class NasWaveForAudioClassification(EncoderPreTrained):
    """An encoder with a classifier."""

    config_class = NasWaveConfig
    main_input_name = "input_values"

    def __init__(self, config: NasWaveConfig) -> None:
        super().__init__(config)
        self.model = NasWaveModel(config)
        self.head = head_of(config.encoder_spec, config.base, config.num_labels)
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
    config = NasWaveConfig(
        base=dict(base),
        **form_of(network, classes),
        architectures=["NasWaveForAudioClassification"],
    )
    return filled(NasWaveForAudioClassification(config), network)


AutoConfig.register("nas_wave", NasWaveConfig, exist_ok=True)
AutoModel.register(NasWaveConfig, NasWaveModel, exist_ok=True)
AutoModelForAudioClassification.register(
    NasWaveConfig, NasWaveForAudioClassification, exist_ok=True
)
