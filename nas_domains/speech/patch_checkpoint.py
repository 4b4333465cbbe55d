"""A pretrained Audio Spectrogram Transformer in a local folder of transformers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.errors import UsageError
from ..core.hand_back import in_order
from ..core.patch_weights import PatchNames
from ..data.fbank import Heard
from ..nn.encoder import EncoderSpec, LayerSize
from .classifier import PATCHES, SpeechClassifier, speech_classifier
from .patches import TOKENS, PatchGrid

RATE = 16_000
"""Samples a second, the only one that their frames are made for."""

MEAN, STD = -4.2677393, 4.5689974
"""Of their feature extractor, where nothing else is said."""

NAMES = PatchNames(
    {"head.norm": "classifier.layernorm", "head.classifier": "classifier.dense"},
    "audio_spectrogram_transformer.",
)


@dataclass(frozen=True)
class PatchCheckpoint:
    """A folder that transformers wrote.

    Attributes:
        path: The folder.
        spec: The form of its layers.
        config: Content of its ``config.json``, with the defaults of its kind.
        heard: What it was pretrained on.
    """

    path: str
    spec: EncoderSpec
    config: dict[str, Any]
    heard: Heard

    def network(self, sizes: Sequence[LayerSize], outputs: int) -> SpeechClassifier:
        """A plain network of these sizes, with weights from torch's global generator."""
        return speech_classifier(self.spec, self.config, sizes, outputs)

    def example(self, input_shape: tuple[int, ...]) -> tuple[Tensor, int]:
        """A flat spectrogram [1, 1, bands, frames], and the tokens that the layers see of it."""
        grid = PatchGrid(self.config)
        return torch.zeros((1, *input_shape)), TOKENS + grid.bands * grid.steps(input_shape[2])

    def check(self, space: str, input_shape: tuple[int, ...]) -> None:
        """Whether it reads spectrograms of that shape.

        Raises:
            UsageError: They are too short or too long, or no spectrograms.
        """
        grid, bins = PatchGrid(self.config), self.heard.bins
        if len(input_shape) != 3 or input_shape[:2] != (1, bins):
            raise UsageError(
                f"The space {space!r} takes spectrograms of {bins} bands, not inputs "
                f"of shape {tuple(input_shape)}: give it a task of recordings with the option "
                f"features={self.path}."
            )
        if not 1 <= grid.steps(input_shape[2]) <= grid.most:
            raise UsageError(
                f"Recordings of {input_shape[2]} frames do not fit {self.path!r}, which takes "
                f"{grid.size} to {self.heard.frames}: set the option seconds."
            )

    def fill(self, network: SpeechClassifier) -> None:
        """Loads the weights into a plain network of the full size.

        A classifier of another number of outputs keeps its own weights, and so does one whose
        classes are not in the order that tasks have.

        Raises:
            UsageError: The weights are missing or damaged, or one has another shape.
        """
        from transformers import ASTForAudioClassification

        theirs = NAMES.weights(self.path, ASTForAudioClassification)
        NAMES.fill(network, self.path, theirs, in_order(self.config))


def open_patch_checkpoint(
    path: str, config: Mapping[str, Any], heard: Mapping[str, Any]
) -> PatchCheckpoint:
    """Reads the form of a checkpoint.

    Args:
        path: The folder.
        config: Content of its config.json, with the defaults of its kind.
        heard: Content of its preprocessor_config.json.

    Raises:
        UsageError: A setting that is not known here.
    """
    if not config["qkv_bias"]:
        raise UsageError(
            f"{path!r} has queries without biases, which are not known here: use another "
            "checkpoint."
        )
    if not isinstance(config["patch_size"], int):
        raise UsageError(f"{path!r} has patches that are not square: use another checkpoint.")
    if heard.get("sampling_rate", RATE) != RATE:
        raise UsageError(
            f"{path!r} was pretrained at {heard['sampling_rate']} Hz: only {RATE} Hz is known "
            "here, use another checkpoint."
        )
    grid = PatchGrid(config)
    if grid.bands < 1 or grid.most < 1:
        raise UsageError(f"{path!r} has larger patches than spectrograms: use another checkpoint.")
    # Where values are not normalised, the mean and the spread change nothing.
    normal = heard.get("do_normalize", True)
    mean, std = (heard.get("mean", MEAN), heard.get("std", STD)) if normal else (0.0, 0.5)
    numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in (mean, std))
    if not numbers or std <= 0:
        raise UsageError(
            f"The preprocessor_config.json of {path!r} is damaged (mean {mean!r}, std {std!r}): "
            "restore it from a copy."
        )
    spec = EncoderSpec(
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        width=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        vocabulary=0,
        positions=0,
        eps=config["layer_norm_eps"],
        activation=config["hidden_act"],
        dropout=config["hidden_dropout_prob"],
        attention_dropout=config["attention_probs_dropout_prob"],
        norm_first=True,
        std=config["initializer_range"],
        family=PATCHES,
    )
    own = Heard(
        RATE, int(config["num_mel_bins"]), float(mean), float(std), int(config["max_length"])
    )
    return PatchCheckpoint(path, spec, dict(config), own)
