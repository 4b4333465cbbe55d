"""Encoders of samples as models of transformers."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.hand_back import HandBack
from ..core.seeds import generator
from .checkpoint import open_wave_checkpoint
from .waves import WaveClassifier


def for_transformers(network: nn.Module, description: Mapping[str, Any]) -> HandBack | None:
    """A network as a model of transformers; None where it reads no samples.

    It is a ``nas_wave``, whose configuration holds the heads and the width of each layer, and
    which loads after ``import nas_domains``; the feature extractor lies beside it.

    Args:
        network: The plain network of a run.
        description: Of :func:`nas_domains.export.load.load_description`.
    """
    if not isinstance(network, WaveClassifier):
        return None
    # Behind the hook: importing it registers our classes.
    from transformers import AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

    from .modeling import wrap

    checkpoint = open_wave_checkpoint(description["config"]["checkpoint"])

    def beside(folder: Path) -> None:
        Wav2Vec2FeatureExtractor(
            sampling_rate=checkpoint.rate,
            do_normalize=checkpoint.normalised,
            return_attention_mask=network.encoder.masked,
        ).save_pretrained(folder)

    theirs = wrap(network, checkpoint.config, description["classes"])
    samples = description["input_shape"][0]
    difference = partial(_difference, network, samples)
    return HandBack(theirs, AutoModelForAudioClassification, beside, difference)


@torch.no_grad()
def _difference(network: WaveClassifier, samples: int, theirs: Any) -> float:
    x = torch.randn((2, samples), generator=generator(0, "export"))
    x[1, (samples + 1) // 2 :] = 0
    expected = network(x)
    found = theirs(input_values=x).logits
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
