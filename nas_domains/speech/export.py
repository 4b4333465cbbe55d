"""Encoders of recordings as models of transformers."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.hand_back import HandBack, labels_of
from ..core.seeds import generator
from ..nn.elastic.attention import sizes_of
from ..nn.encoder import LayerSize
from .checkpoint import WaveCheckpoint, open_speech_checkpoint
from .classifier import SpeechClassifier
from .patch_checkpoint import NAMES, PatchCheckpoint
from .patches import SpectrumEncoder
from .waves import WaveEncoder


def for_transformers(network: nn.Module, description: Mapping[str, Any]) -> HandBack | None:
    """A network as a model of transformers; None where it reads no recordings.

    It is a ``nas_wave``, whose configuration holds the heads and the width of each layer, and
    which loads after ``import nas_domains``; of spectrograms an ordinary one of its family where
    all layers that are left have all heads and one width. The feature extractor lies beside it.

    Args:
        network: The plain network of a run.
        description: Of :func:`nas_domains.export.load.load_description`.
    """
    if not isinstance(network, SpeechClassifier):
        return None
    # Behind the hook: importing it registers our classes.
    from transformers import AutoModelForAudioClassification

    from .modeling import wrap

    checkpoint = open_speech_checkpoint(description["config"]["checkpoint"])
    shape = tuple(description["input_shape"])
    theirs: Any = None
    if isinstance(checkpoint, PatchCheckpoint):
        theirs = plain_model(network, checkpoint, shape, description["classes"])
    if theirs is None:
        theirs = wrap(network, checkpoint.config, description["classes"])

    def beside(folder: Path) -> None:
        feature_extractor(network, checkpoint, shape).save_pretrained(folder)

    difference = partial(_difference, network, shape)
    return HandBack(theirs, AutoModelForAudioClassification, beside, difference)


def feature_extractor(
    network: SpeechClassifier,
    checkpoint: WaveCheckpoint | PatchCheckpoint,
    shape: tuple[int, ...],
) -> Any:
    """What makes the network's inputs of recordings, for transformers."""
    from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor

    if isinstance(checkpoint, PatchCheckpoint):
        heard = checkpoint.heard
        return ASTFeatureExtractor(
            sampling_rate=heard.rate,
            num_mel_bins=heard.bins,
            max_length=shape[2],
            mean=heard.mean,
            std=heard.std,
        )
    assert isinstance(network.encoder, WaveEncoder)
    return Wav2Vec2FeatureExtractor(
        sampling_rate=checkpoint.rate,
        do_normalize=checkpoint.normalised,
        return_attention_mask=network.encoder.masked,
    )


def plain_model(
    network: SpeechClassifier,
    checkpoint: PatchCheckpoint,
    shape: tuple[int, ...],
    classes: list[str],
) -> Any | None:
    """The network as an ordinary AST for that shape, or None where that cannot express it."""
    from transformers import ASTConfig, ASTForAudioClassification

    encoder, spec = network.encoder, checkpoint.spec
    assert isinstance(encoder, SpectrumEncoder)
    sizes = sizes_of(encoder.layers)
    kept = [i for i, size in enumerate(sizes) if size != LayerSize(0, 0)]
    forms = {sizes[i] for i in kept}
    if len(forms) != 1:
        return None
    (form,) = forms
    if form.heads != spec.heads or not form.width:
        return None
    outputs = network.head.classifier.out_features
    own = {"num_hidden_layers": len(kept), "intermediate_size": form.width, "max_length": shape[2]}
    labels = "id2label", "label2id", "problem_type"
    rest = {k: v for k, v in checkpoint.config.items() if k not in labels}
    made = ASTForAudioClassification(ASTConfig(**{**rest, **own}, **labels_of(classes, outputs)))
    positions = encoder.positions_of(encoder.grid.bands, encoder.grid.steps(shape[2]))
    made.load_state_dict(NAMES.theirs(network, kept, positions))
    return made.eval()


@torch.no_grad()
def _difference(network: SpeechClassifier, shape: tuple[int, ...], theirs: Any) -> float:
    x = torch.randn((2, *shape), generator=generator(0, "export"))
    if len(shape) == 1:
        x[1, (shape[0] + 1) // 2 :] = 0
    expected = network(x)
    # Theirs has the bands behind the frames.
    found = theirs(input_values=x if len(shape) == 1 else x[:, 0].transpose(1, 2)).logits
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
