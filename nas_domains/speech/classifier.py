"""Encoders of recordings with a classifier, of samples or of spectrograms."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..nn.encoder import EncoderClassifier, EncoderSpec, LayerSize, draw_weights
from .patches import PatchHead, SpectrumEncoder
from .waves import WaveEncoder, WaveHead

PATCHES = "audio-spectrogram-transformer"
"""``model_type`` of what takes spectrograms; others take samples."""


class SpeechClassifier(EncoderClassifier):
    """An encoder of recordings and a head on its states.

    Args:
        encoder: x -> states [B, T, D] and which count [B, T].
        head: Of both -> [B, outputs].
    """

    encoder: WaveEncoder | SpectrumEncoder
    head: WaveHead | PatchHead

    def __init__(self, encoder: WaveEncoder | SpectrumEncoder, head: WaveHead | PatchHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        """Samples [B, S] or spectrograms [B, 1, bands, frames] -> [B, outputs]."""
        scores: Tensor = self.head(*self.encoder(x))
        return scores


def encoder_of(
    spec: EncoderSpec, config: Mapping[str, Any], sizes: Sequence[LayerSize]
) -> WaveEncoder | SpectrumEncoder:
    """The plain encoder of a configuration of transformers, with layers of these sizes."""
    kind = SpectrumEncoder if config["model_type"] == PATCHES else WaveEncoder
    return kind(spec, config, sizes)


def head_of(spec: EncoderSpec, config: Mapping[str, Any], outputs: int) -> WaveHead | PatchHead:
    """The head that belongs to it."""
    if config["model_type"] == PATCHES:
        return PatchHead(spec, outputs)
    return WaveHead(spec.hidden, int(config.get("classifier_proj_size", 256)), outputs)


def speech_classifier(
    spec: EncoderSpec, config: Mapping[str, Any], sizes: Sequence[LayerSize], outputs: int
) -> SpeechClassifier:
    """The plain network of these sizes, with weights from torch's global generator."""
    encoder = encoder_of(spec, config, sizes)
    network = SpeechClassifier(encoder, head_of(spec, config, outputs))
    for part in (network.encoder.layers, network.head):
        part.apply(lambda module: draw_weights(module, spec.std))
    return network
