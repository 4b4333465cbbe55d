"""Our encoders of images as models of transformers, for ``AutoModel.from_pretrained``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput, ImageClassifierOutput

from ..core.hand_back import labels_of
from ..nn.elastic.attention import sizes_of
from ..nn.encoder import EncoderSpec, LayerSize
from .patches import ImageClassifier, ImageEncoder, ImageHead

_TINY = {"patch_size": 1, "image_size": 1, "num_channels": 1}


class NasImageConfig(PreTrainedConfig):  # type: ignore[misc]
    """Form and sizes of an encoder of images.

    Args:
        spec: Fields of :class:`nas_domains.nn.encoder.EncoderSpec`.
        base: The configuration of the model that it came from, for images of its size.
        layer_heads: Heads of each layer; 0 where it has no attention.
        layer_widths: Features inside each feed-forward block; 0 where there is none.
        **kwargs: Those of every configuration of transformers.
    """

    model_type = "nas_image"

    def __init__(
        self,
        spec: dict[str, Any] | None = None,
        base: dict[str, Any] | None = None,
        layer_heads: Sequence[int] = (),
        layer_widths: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        tiny = EncoderSpec(2, 1, 1, 0, 0, 0, family="vit")
        self.spec, self.base = dict(spec or asdict(tiny)), dict(base or _TINY)
        self.layer_heads, self.layer_widths = list(layer_heads), list(layer_widths)
        super().__init__(**kwargs)

    def encoder(self) -> ImageEncoder:
        """A plain encoder of this form, with fresh weights."""
        pairs = zip(self.layer_heads, self.layer_widths, strict=True)
        sizes = [LayerSize(heads, width) for heads, width in pairs]
        return ImageEncoder(EncoderSpec(**self.spec), self.base, sizes)

    @property
    def hidden_size(self) -> int:
        """Features between the blocks, by the name that other code asks for."""
        return int(self.spec["hidden"])


class NasImagePreTrained(PreTrainedModel):  # type: ignore[misc]
    """What both models have in common."""

    config_class = NasImageConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.config.spec["std"])
            nn.init.zeros_(module.bias)


class NasImageModel(NasImagePreTrained):
    """An encoder without a classifier."""

    def __init__(self, config: NasImageConfig) -> None:
        super().__init__(config)
        self.encoder = config.encoder()
        self.post_init()

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """Images [B, C, H, W] -> ``last_hidden_state`` [B, T, D]."""
        return BaseModelOutput(self.encoder(pixel_values)[0])


class NasImageForImageClassification(NasImagePreTrained):
    """An encoder with a classifier."""

    def __init__(self, config: NasImageConfig) -> None:
        super().__init__(config)
        self.model = NasImageModel(config)
        self.head = ImageHead(EncoderSpec(**config.spec), config.num_labels)
        self.post_init()

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **_: Any
    ) -> ImageClassifierOutput:
        """Images [B, C, H, W] -> ``logits`` [B, labels], and ``loss``."""
        logits = self.head(*self.model.encoder(pixel_values))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


def wrap(
    network: ImageClassifier, base: Mapping[str, Any], positions: Tensor, classes: Sequence[str]
) -> NasImageForImageClassification:
    """A model of transformers with a copy of a network's weights.

    Args:
        network: The network.
        base: The configuration that it came from, for images of the size that it is used on.
        positions: Those of such images.
        classes: Names of the classes.
    """
    sizes = sizes_of(network.encoder.layers)
    config = NasImageConfig(
        asdict(network.encoder.spec),
        dict(base),
        [size.heads for size in sizes],
        [size.width for size in sizes],
        **labels_of(classes, network.head.classifier.out_features),
        architectures=["NasImageForImageClassification"],
    )
    made = NasImageForImageClassification(config)
    state = network.encoder.state_dict() | {"positions": positions.detach()}
    with torch.no_grad():
        made.model.encoder.load_state_dict(state)
        made.head.load_state_dict(network.head.state_dict())
    made.eval()
    return made


def register() -> None:
    """Makes the automatic classes of transformers know ours; once is enough."""
    AutoConfig.register("nas_image", NasImageConfig, exist_ok=True)
    AutoModel.register(NasImageConfig, NasImageModel, exist_ok=True)
    AutoModelForImageClassification.register(
        NasImageConfig, NasImageForImageClassification, exist_ok=True
    )
