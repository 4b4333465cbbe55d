"""A pretrained Audio Spectrogram Transformer in a local folder of transformers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import UsageError
from ..core.hand_back import quiet_transformers
from ..data.fbank import Heard
from ..nn.encoder import EncoderSpec, LayerSize
from .classifier import PATCHES, SpeechClassifier, in_order, speech_classifier
from .patches import TOKENS, PatchGrid

RATE = 16_000
"""Samples a second, the only one that their frames are made for."""

MEAN, STD = -4.2677393, 4.5689974
"""Of their feature extractor, where nothing else is said."""

MODULES = {
    "encoder.patches": "embeddings.patch_embeddings.projection",
    "encoder.norm": "layernorm",
    "head.norm": "classifier.layernorm",
    "head.classifier": "classifier.dense",
}
LAYER = {
    "attention.query": "attention.q_proj",
    "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj",
    "attention.out": "attention.o_proj",
    "attention.norm": "layernorm_before",
    "feed_forward.inner": "mlp.fc1",
    "feed_forward.outer": "mlp.fc2",
    "feed_forward.norm": "layernorm_after",
}
"""Our module -> theirs; of a layer within it."""

POSITIONS = "embeddings.position_embeddings"
_TOKENS = "embeddings.cls_token", "embeddings.distillation_token"
_PREFIX = "audio_spectrogram_transformer."


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
        theirs = their_weights(self.path)
        own = network.state_dict()
        found: dict[str, Tensor] = {}
        for name, value in own.items():
            weight = theirs.get(their_name(name))
            if name == "encoder.tokens" and all(token in theirs for token in _TOKENS):
                weight = torch.cat([theirs[token] for token in _TOKENS], 1)
            if name.startswith("head.classifier.") and not in_order(self.config):
                weight = None
            if weight is not None and weight.shape == value.shape:
                found[name] = weight.float()
            elif not name.startswith("head."):
                raise UsageError(
                    f"The weights in {self.path!r} do not fit its config.json (no {name} of shape "
                    f"{tuple(value.shape)}): restore them from a copy."
                )
        network.load_state_dict(own | found)


def their_name(name: str) -> str:
    """Their name of one of our weights, without a prefix; empty for the tokens."""
    if name == "encoder.positions":
        return POSITIONS
    module, _, kind = name.rpartition(".")
    if module.startswith("encoder.layers."):
        number, _, rest = module.removeprefix("encoder.layers.").partition(".")
        return f"layers.{number}.{LAYER[rest]}.{kind}"
    return f"{MODULES[module]}.{kind}" if module in MODULES else ""


def their_weights(path: str) -> dict[str, Tensor]:
    """The weights of a checkpoint by the names that transformers has in memory.

    Its loader knows how older versions wrote them.

    Raises:
        UsageError: The weights are missing or damaged.
    """
    from transformers import ASTForAudioClassification

    if not (Path(path) / "model.safetensors").is_file():
        raise UsageError(
            f"{path!r} holds no model.safetensors that can be read: save the model there by "
            "save_pretrained."
        )
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model, info = ASTForAudioClassification.from_pretrained(
                path,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # it raises many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(
            f"{path!r} holds no model.safetensors that can be read ({reason}): save the model "
            "there by save_pretrained."
        ) from None
    # What was not there, or had another shape, has fresh weights, which nobody wants.
    other = {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]}
    missing = {*info["missing_keys"], *other}
    state = model.state_dict().items()
    return {n.removeprefix(_PREFIX): w for n, w in state if n not in missing}


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
