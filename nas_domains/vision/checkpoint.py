"""A pretrained encoder of images in a local folder of transformers: its form and weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.checkpoint_config import read_config, read_json
from ..core.errors import UsageError
from ..core.hand_back import in_order
from ..core.patch_weights import PatchNames
from ..data.seen import Seen
from ..nn.encoder import EncoderSpec, LayerSize
from ..nn.encoder_check import check_spec
from .patches import TOKENS, ImageClassifier, image_classifier, sides

NAMES = {
    family: PatchNames({"head.classifier": "classifier"}, f"{family}.") for family in TOKENS
}


@dataclass(frozen=True)
class ImageCheckpoint:
    """A folder that transformers wrote.

    Attributes:
        path: The folder.
        spec: The form of its layers.
        config: Content of its ``config.json``, with the defaults of its kind.
        seen: What it was pretrained on.
    """

    path: str
    spec: EncoderSpec
    config: dict[str, Any]
    seen: Seen

    def network(self, sizes: Sequence[LayerSize], outputs: int) -> ImageClassifier:
        """A plain network of these sizes, with weights from torch's global generator."""
        return image_classifier(self.spec, self.config, sizes, outputs)

    def example(self, input_shape: tuple[int, ...]) -> tuple[Tensor, int]:
        """A flat image [1, C, H, W], and the tokens that the layers see of it."""
        rows, columns = self.grid(input_shape)
        return torch.zeros((1, *input_shape)), TOKENS[self.spec.family] + rows * columns

    def grid(self, input_shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of patches of an image [C, H, W]."""
        height, width = sides(self.config["patch_size"])
        return input_shape[1] // height, input_shape[2] // width

    def check(self, space: str, input_shape: tuple[int, ...]) -> None:
        """Whether it sees images of that shape.

        Raises:
            UsageError: They are too small, or have other channels, or are no images.
        """
        channels = self.config["num_channels"]
        if len(input_shape) != 3 or input_shape[0] != channels:
            raise UsageError(
                f"The space {space!r} takes images of {channels} channels, not inputs of shape "
                f"{tuple(input_shape)}: give it a task of images with the option "
                f"checkpoint={self.path}."
            )
        if not min(self.grid(input_shape)):
            raise UsageError(
                f"Images of {input_shape[1]}x{input_shape[2]} are smaller than a patch of "
                f"{self.path!r}: set the option size higher."
            )

    def fill(self, network: ImageClassifier) -> None:
        """Loads the weights into a plain network of the full size.

        A classifier of another number of outputs keeps its own weights, and so does one whose
        classes are not in the order that tasks have.

        Raises:
            UsageError: The weights are missing or damaged, or one has another shape.
        """
        import transformers

        kinds = {
            "vit": transformers.ViTForImageClassification,
            "deit": transformers.DeiTForImageClassification,
        }
        names = NAMES[self.spec.family]
        theirs = names.weights(self.path, kinds[self.spec.family])
        names.fill(network, self.path, theirs, in_order(self.config))


def open_image_checkpoint(path: object) -> ImageCheckpoint:
    """Reads the form of a checkpoint of ViT or DeiT.

    Args:
        path: A folder with config.json and model.safetensors; ``preprocessor_config.json`` says
            the mean and the spread of colours, 0.5 where it is not there.

    Raises:
        UsageError: No such folder, or an encoder that is not known here.
    """
    place, config = read_config(path, TOKENS)
    from transformers import AutoConfig

    try:
        whole = AutoConfig.for_model(**config).to_dict()
        spec = _spec(whole)
        patch, image = sides(whole["patch_size"]), sides(whole["image_size"])
        channels = int(whole["num_channels"])
        fits = min(*patch, channels) >= 1 and image[0] >= patch[0] and image[1] >= patch[1]
        fits = fits and min(spec.heads, spec.layers) >= 1
    except Exception as error:  # it raises many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(
            f"The config.json of {str(path)!r} is damaged ({reason}): restore it from a copy."
        ) from None
    if not fits:
        raise UsageError(
            f"The config.json of {str(path)!r} has no layers, no heads, or no patches that fit "
            "into its images: use another checkpoint."
        )
    check_spec(str(path), spec)
    if not whole["qkv_bias"]:
        raise UsageError(
            f"{str(path)!r} has queries without biases, which are not known here: use another "
            "checkpoint."
        )
    return ImageCheckpoint(place, spec, whole, _seen(str(path), place, channels, image))


def _spec(config: Mapping[str, Any]) -> EncoderSpec:
    return EncoderSpec(
        hidden=int(config["hidden_size"]),
        heads=int(config["num_attention_heads"]),
        width=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        vocabulary=0,
        positions=0,
        eps=float(config["layer_norm_eps"]),
        activation=config["hidden_act"],
        dropout=float(config["hidden_dropout_prob"]),
        attention_dropout=float(config["attention_probs_dropout_prob"]),
        norm_first=True,
        std=float(config["initializer_range"]),
        family=config["model_type"],
    )


def _seen(said: str, place: str, channels: int, size: tuple[int, int]) -> Seen:
    given = read_json(Path(place) / "preprocessor_config.json") or {}
    found = []
    # Values that are not normalised are fractions of full scale.
    usual = (0.5, 0.5) if given.get("do_normalize", True) else (0.0, 1.0)
    for name, default in zip(("image_mean", "image_std"), usual, strict=True):
        values = given.get(name, default) if given.get("do_normalize", True) else default
        values = [values] * channels if isinstance(values, int | float) else values
        numbers = isinstance(values, list) and all(
            isinstance(v, int | float) and math.isfinite(v) for v in values
        )
        positive = numbers and (name == "image_mean" or min(values, default=0) > 0)
        if not positive or len(values) != channels:
            raise UsageError(
                f"The preprocessor_config.json of {said!r} is damaged ({name} {values!r}): "
                "restore it from a copy."
            )
        found.append(tuple(map(float, values)))
    return Seen(size, *found)
