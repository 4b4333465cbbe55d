"""A pretrained encoder of recordings in a local folder of transformers: its form and weights."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..core.checkpoint_config import read_config, read_json
from ..core.errors import UsageError
from ..core.hand_back import in_order
from ..nn.encoder import EncoderSpec, LayerSize
from ..nn.encoder_check import check_spec
from .classifier import PATCHES, SpeechClassifier, speech_classifier
from .patch_checkpoint import PatchCheckpoint, open_patch_checkpoint
from .waves import FRONT

FAMILIES = "wav2vec2", "hubert", PATCHES
"""``model_type`` of what is known here."""

LAYER = {
    "attention.query": "attention.q_proj",
    "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj",
    "attention.out": "attention.out_proj",
    "attention.norm": "layer_norm",
    "feed_forward.inner": "feed_forward.intermediate_dense",
    "feed_forward.outer": "feed_forward.output_dense",
    "feed_forward.norm": "final_layer_norm",
}
"""Our module within a layer -> theirs."""

RATE = 16_000
OLD = {
    ".conv.weight_g": ".conv.parametrizations.weight.original0",
    ".conv.weight_v": ".conv.parametrizations.weight.original1",
}
"""Names that old versions of torch gave to the parts of a normed weight."""


@dataclass(frozen=True)
class WaveCheckpoint:
    """A folder that transformers wrote.

    Attributes:
        path: The folder.
        spec: The form of its layers.
        config: Content of its ``config.json``, with the defaults of its kind.
        rate: Samples a second that it was pretrained on.
        normalised: Whether on recordings of zero mean and unit variance.
    """

    path: str
    spec: EncoderSpec
    config: dict[str, Any]
    rate: int
    normalised: bool

    def network(self, sizes: Sequence[LayerSize], outputs: int) -> SpeechClassifier:
        """A plain network of these sizes, with weights from torch's global generator."""
        return speech_classifier(self.spec, self.config, sizes, outputs)

    def example(self, input_shape: tuple[int, ...]) -> tuple[Tensor, int]:
        """Silence [1, S], and the frames that the layers see of it."""
        return torch.zeros((1, *input_shape)), self.frames(input_shape[0])

    def frames(self, samples: int) -> int:
        """The frames of a recording; 0 or less where it is too short for one."""
        steps = zip(self.config["conv_kernel"], self.config["conv_stride"], strict=True)
        for kernel, stride in steps:
            samples = (samples - kernel) // stride + 1
        return samples

    def check(self, space: str, input_shape: tuple[int, ...]) -> None:
        """Whether it reads recordings of that many samples.

        Raises:
            UsageError: They are too short, or no samples.
        """
        if len(input_shape) != 1:
            raise UsageError(
                f"The space {space!r} takes recordings as samples, not inputs of shape "
                f"{tuple(input_shape)}: give it a task of recordings with form=wave."
            )
        if self.frames(input_shape[0]) < 1:
            raise UsageError(
                f"Recordings of {input_shape[0]} samples are too short for {self.path!r}: set "
                "the option seconds higher."
            )

    def fill(self, network: SpeechClassifier) -> None:
        """Loads the weights into a plain network of the full size.

        A classifier of another number of outputs keeps its own weights, and so does one whose
        classes are not in the order that tasks have.

        Raises:
            UsageError: The weights are missing or damaged, or one of them is missing or has
                another shape.
        """
        theirs = self._weights()
        names = {f"encoder.{ours}": theirs for ours, theirs in FRONT.items()}
        for i in range(self.spec.layers):
            for ours, name in LAYER.items():
                names[f"encoder.layers.{i}.{ours}"] = f"encoder.layers.{i}.{name}"
        prefix, own = f"{self.spec.family}.", network.state_dict()
        found: dict[str, Tensor] = {}
        for name, value in own.items():
            module = next((m for m in names if name.startswith(f"{m}.")), None)
            there = name.removeprefix("head.")
            if module is not None:
                there = names[module] + name.removeprefix(module)
            weight = theirs.get(prefix + there, theirs.get(there))
            if name.startswith("head.classifier.") and not in_order(self.config):
                weight = None
            if weight is not None and weight.shape == value.shape:
                found[name] = weight.float()
            elif module is not None:
                raise UsageError(
                    f"The weights in {self.path!r} do not fit its config.json (no {there} of "
                    f"shape {tuple(value.shape)}): restore them from a copy."
                )
        network.load_state_dict(own | found)

    def _weights(self) -> dict[str, Tensor]:
        try:
            theirs = load_file(os.path.join(self.path, "model.safetensors"))
        except (OSError, SafetensorError):
            raise UsageError(
                f"{self.path!r} holds no model.safetensors that can be read: save the model "
                "there by save_pretrained."
            ) from None
        for old, new in OLD.items():
            theirs = {name.replace(old, new): weight for name, weight in theirs.items()}
        return theirs


def open_speech_checkpoint(path: object) -> WaveCheckpoint | PatchCheckpoint:
    """Reads the form of a checkpoint of wav2vec 2.0, HuBERT or AST.

    Args:
        path: A folder with config.json and model.safetensors; ``preprocessor_config.json`` says
            the rate, 16,000 where it is not there.

    Raises:
        UsageError: No such folder, or an encoder that is not known here.
    """
    place, config = read_config(path, FAMILIES)
    family = config["model_type"]
    from transformers import AutoConfig

    try:
        whole = AutoConfig.for_model(**config).to_dict()
        heard = read_json(Path(place) / "preprocessor_config.json") or {}
        if family == PATCHES:
            patches = open_patch_checkpoint(place, whole, heard)
            _check(str(path), whole, patches.spec)
            return patches
        spec = _spec(whole)
    except UsageError:
        raise
    except Exception as error:  # it raises many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(
            f"The config.json of {str(path)!r} is damaged ({reason}): restore it from a copy."
        ) from None
    _check(str(path), whole, spec)
    rate, normalised = heard.get("sampling_rate", RATE), heard.get("do_normalize", True)
    if not isinstance(rate, int) or rate < 1:
        raise UsageError(
            f"The preprocessor_config.json of {str(path)!r} has the sampling_rate {rate!r}: write "
            "the samples a second that the checkpoint heard."
        )
    return WaveCheckpoint(place, spec, whole, rate, bool(normalised))


def _spec(config: Mapping[str, Any]) -> EncoderSpec:
    return EncoderSpec(
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        width=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        vocabulary=0,
        positions=0,
        eps=config["layer_norm_eps"],
        activation=config["hidden_act"],
        dropout=config["hidden_dropout"],
        attention_dropout=config["attention_dropout"],
        norm_first=config["do_stable_layer_norm"],
        std=config["initializer_range"],
        family=config["model_type"],
    )


def _check(path: str, config: Mapping[str, Any], spec: EncoderSpec) -> None:
    check_spec(path, spec)
    if config.get("add_adapter") or config.get("adapter_attn_dim"):
        raise UsageError(
            f"{path!r} has adapters, which are not known here: use another checkpoint."
        )
