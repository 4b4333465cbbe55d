"""Encoders of spectrograms cut into patches: the Audio Spectrogram Transformer (AST, Gong et al.
2021, arXiv 2104.01778), whose layers may differ in heads and width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..nn.encoder import EncoderSpec, LayerSize
from ..nn.patch_encoder import PatchEncoder

TOKENS = 2
"""Tokens before the patches: those of the class and of distillation."""


class PatchGrid:
    """How many patches a spectrogram has.

    Args:
        config: Of transformers' ``ASTModel``.

    Attributes:
        size: Bands and frames of a patch.
        strides: Bands and frames from one to the next.
        bands: Patches on top of each other.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.size = int(config["patch_size"])
        self.strides = int(config["frequency_stride"]), int(config["time_stride"])
        self.bands = (int(config["num_mel_bins"]) - self.size) // self.strides[0] + 1
        self.most = self.steps(int(config["max_length"]))

    def steps(self, frames: int) -> int:
        """Patches beside each other; none or less where there are too few frames."""
        return (frames - self.size) // self.strides[1] + 1


class SpectrumEncoder(PatchEncoder):
    """Spectrograms [B, 1, bands, frames] to states.

    Shorter spectrograms than the encoder was pretrained on take the first of its positions.

    Args:
        spec: Form of the layers.
        config: Their configuration.
        sizes: Of the layers.
    """

    def __init__(
        self, spec: EncoderSpec, config: Mapping[str, Any], sizes: Sequence[LayerSize]
    ) -> None:
        grid = PatchGrid(config)
        patches = nn.Conv2d(1, spec.hidden, grid.size, grid.strides)
        super().__init__(spec, sizes, patches, TOKENS, grid.bands * grid.most)
        self.grid = grid

    def positions_of(self, rows: int, columns: int) -> Tensor:
        """See the base; rows are all that there are."""
        grid, hidden = self.grid, self.spec.hidden
        table = self.positions[:, TOKENS:].view(1, grid.bands, grid.most, hidden)
        own = table[:, :, :columns].reshape(1, -1, hidden)
        return torch.cat([self.positions[:, :TOKENS], own], 1)


class PatchHead(nn.Module):
    """The mean of the two tokens, a norm, and a linear layer.

    Args:
        spec: Of the encoder.
        outputs: Size of the output.
    """

    def __init__(self, spec: EncoderSpec, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(spec.hidden, eps=spec.eps)
        self.classifier = nn.Linear(spec.hidden, outputs)

    def forward(self, states: Tensor, keep: Tensor) -> Tensor:
        """States [B, T, D], those of the tokens first -> [B, outputs]."""
        scores: Tensor = self.classifier(self.norm(states[:, :TOKENS].mean(1)))
        return scores
