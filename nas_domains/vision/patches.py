"""Encoders of images cut into patches: ViT (Dosovitskiy et al. 2021, arXiv 2010.11929) and DeiT
(Touvron et al. 2021, arXiv 2012.12877), whose layers may differ in heads and width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..nn.encoder import EncoderClassifier, EncoderSpec, LayerSize, draw_weights
from ..nn.patch_encoder import PatchEncoder

TOKENS = {"vit": 1, "deit": 2}
"""``model_type`` in transformers -> tokens before the patches; the first is classified."""


def sides(size: Any) -> tuple[int, int]:
    """Height and width as their configurations have them, a number or two."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


class ImageEncoder(PatchEncoder):
    """Images [B, C, H, W] to states.

    Images of another size than the encoder was pretrained on have positions between its own, by
    bicubic interpolation; what is left over of a size at the right and below is not looked at.

    Args:
        spec: Form of the layers.
        config: Of transformers' ``ViTModel`` or ``DeiTModel``.
        sizes: Of the layers.
    """

    def __init__(
        self, spec: EncoderSpec, config: Mapping[str, Any], sizes: Sequence[LayerSize]
    ) -> None:
        patch, image = sides(config["patch_size"]), sides(config["image_size"])
        grid = image[0] // patch[0], image[1] // patch[1]
        patches = nn.Conv2d(int(config["num_channels"]), spec.hidden, patch, patch)
        super().__init__(spec, sizes, patches, TOKENS[spec.family], grid[0] * grid[1])
        self.grid = grid

    def positions_of(self, rows: int, columns: int) -> Tensor:
        """See the base."""
        if (rows, columns) == self.grid:
            return self.positions
        tokens, hidden = self.tokens.shape[1], self.spec.hidden
        table = self.positions[:, tokens:].view(1, *self.grid, hidden).permute(0, 3, 1, 2)
        table = functional.interpolate(
            table, size=(rows, columns), mode="bicubic", align_corners=False
        )
        own = table.permute(0, 2, 3, 1).reshape(1, -1, hidden)
        return torch.cat([self.positions[:, :tokens], own], 1)


class ImageHead(nn.Module):
    """A linear layer on the first token.

    Args:
        spec: Of the encoder.
        outputs: Size of the output.
    """

    def __init__(self, spec: EncoderSpec, outputs: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(spec.hidden, outputs)

    def forward(self, states: Tensor, keep: Tensor) -> Tensor:
        """States [B, T, D] -> [B, outputs]."""
        scores: Tensor = self.classifier(states[:, 0])
        return scores


class ImageClassifier(EncoderClassifier):
    """An encoder of images and a head on its states.

    Args:
        encoder: The encoder.
        outputs: Size of the output.
    """

    encoder: ImageEncoder
    head: ImageHead

    def __init__(self, encoder: ImageEncoder, outputs: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, ImageHead(encoder.spec, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs]."""
        scores: Tensor = self.head(*self.encoder(x))
        return scores


def image_classifier(
    spec: EncoderSpec, config: Mapping[str, Any], sizes: Sequence[LayerSize], outputs: int
) -> ImageClassifier:
    """The plain network of these sizes, with weights from torch's global generator."""
    network = ImageClassifier(ImageEncoder(spec, config, sizes), outputs)
    for part in (network.encoder.layers, network.head):
        part.apply(lambda module: draw_weights(module, spec.std))
    return network
