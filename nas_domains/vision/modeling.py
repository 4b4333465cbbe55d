"""Our encoders of images as models of transformers, for ``AutoModel.from_pretrained``.

To import this makes the automatic classes of transformers know them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification
from transformers.modeling_outputs import BaseModelOutput, ImageClassifierOutput

from ..nn.encoder import EncoderSpec
from ..nn.encoder_models import EncoderConfig, EncoderModel, EncoderPreTrained, filled, form_of
from .patches import ImageClassifier, ImageEncoder, ImageHead

_TINY = {"patch_size": 1, "image_size": 1, "num_channels": 1}


class NasImageConfig(EncoderConfig):
    """Form and sizes of an encoder of images.

    Args:
        spec: Fields of :class:`nas_domains.nn.encoder.EncoderSpec`.
        base: The configuration of the model that it came from, for images of its size.
        **kwargs: Those of :class:`nas_domains.nn.encoder_models.EncoderConfig`.
    """

    model_type = "nas_image"
    tiny = EncoderSpec(2, 1, 1, 0, 0, 0, family="vit")

    def __init__(
        self,
        spec: dict[str, Any] | None = None,
        base: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.base = dict(base or _TINY)
        super().__init__(spec, **kwargs)

    def encoder(self) -> ImageEncoder:
        """See the base."""
        return ImageEncoder(self.encoder_spec, self.base, self.sizes)


class NasImageModel(EncoderModel):
    """An encoder without a classifier."""

    config_class = NasImageConfig
    main_input_name = "pixel_values"

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """Images [B, C, H, W] -> ``last_hidden_state`` [B, T, D]."""
        return BaseModelOutput(self.encoder(pixel_values)[0])


class NasImageForImageClassification(EncoderPreTrained):
    """An encoder with a classifier."""

    config_class = NasImageConfig
    main_input_name = "pixel_values"

    def __init__(self, config: NasImageConfig) -> None:
        super().__init__(config)
        self.model = NasImageModel(config)
        self.head = ImageHead(config.encoder_spec, config.num_labels)
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
    config = NasImageConfig(
        base=dict(base),
        **form_of(network, classes),
        architectures=["NasImageForImageClassification"],
    )
    return filled(NasImageForImageClassification(config), network, positions=positions.detach())


AutoConfig.register("nas_image", NasImageConfig, exist_ok=True)
AutoModel.register(NasImageConfig, NasImageModel, exist_ok=True)
AutoModelForImageClassification.register(
    NasImageConfig, NasImageForImageClassification, exist_ok=True
)
