"""Random change of texts as tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class HideTokens:
    """Tokens are replaced by the unknown one at random (word dropout, Iyyer et al. 2015).

    Attributes:
        share: Probability of each token.
        unknown: What takes its place.
        special: Tokens from this number on may be hidden; those below it stay.
    """

    share: float
    unknown: int
    special: int

    def __call__(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Tokens int64 [B, T] and labels -> the same, changed from the generator only."""
        drawn = torch.rand(x.shape, generator=generator, device=generator.device).to(x.device)
        hidden = (drawn < self.share) & (x >= self.special)
        return x.masked_fill(hidden, self.unknown), y
