"""Encoders of what is cut into patches, whose layers may differ in heads and width.

The Vision Transformer (Dosovitskiy et al. 2021, arXiv 2010.11929), DeiT (Touvron et al. 2021,
arXiv 2012.12877) and the Audio Spectrogram Transformer (Gong et al. 2021, arXiv 2104.01778) are of
this form: a convolution over patches, tokens of their own before them, positions, layers whose
norms stand first, and a norm.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .encoder import EncoderSpec, LayerSize, plain_layers


class PatchEncoder(nn.Module, ABC):
    """Pictures to states.

    Args:
        spec: Form of the layers.
        sizes: Of the layers.
        patches: What makes a state of each patch: a convolution.
        tokens: Tokens before the patches.
        places: Patches that have a position.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        sizes: Sequence[LayerSize],
        patches: nn.Conv2d,
        tokens: int,
        places: int,
    ) -> None:
        super().__init__()
        self.spec, self.patches = spec, patches
        self.tokens = nn.Parameter(torch.empty(1, tokens, spec.hidden))
        self.positions = nn.Parameter(torch.empty(1, tokens + places, spec.hidden))
        for parameter in (self.tokens, self.positions):
            nn.init.normal_(parameter, std=spec.std)
        self.dropout = nn.Dropout(spec.dropout)
        self.layers = nn.ModuleList(plain_layers(spec, sizes))
        self.norm = nn.LayerNorm(spec.hidden, eps=spec.eps)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> states [B, T, D], and which count, all, [B, T]."""
        patches = self.patches(x)
        states = patches.flatten(2).transpose(1, 2)
        states = torch.cat([self.tokens.expand(x.shape[0], -1, -1), states], 1)
        states = self.dropout(states + self.positions_of(patches.shape[2], patches.shape[3]))
        keep = torch.ones(states.shape[:2], dtype=torch.bool, device=x.device)
        for layer in self.layers:
            states = layer(states, keep)
        return self.norm(states), keep

    @abstractmethod
    def positions_of(self, rows: int, columns: int) -> Tensor:
        """Positions of the tokens and of so many patches, row by row: [1, T, D]."""
