"""The mixed operation: every candidate of an edge at once, weighted."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .candidates import Candidate, Zero
from .fused import fuse
from .normed import weighted_candidates


class MixedOp(nn.Module):
    """out = sum over k of w_k candidate_k(x) (Liu et al. 2019, equation 2).

    Runs as one op where its candidates allow, and one by one otherwise; its state is the same.

    Args:
        candidates: Name -> candidate, in the order of the weights.
        channels: Channels of input and output.
        stride: 1 or 2.
        dims: Spatial dimensions.
    """

    def __init__(
        self, candidates: Mapping[str, Candidate], channels: int, stride: int, dims: int
    ) -> None:
        super().__init__()
        self.candidates = nn.ModuleDict(
            {name: make(channels, stride, False, dims) for name, make in candidates.items()}
        )
        # A candidate that gives zeros needs no memory traffic and gets no gradient, only a place
        # among the weights.
        live = [i for i, c in enumerate(self.candidates.values()) if not isinstance(c, Zero)]
        self.live: Tensor
        self.register_buffer("live", torch.tensor(live), persistent=False)
        self.fused = fuse(list(self.candidates.values()), stride)

    def forward(self, x: Tensor, weights: Tensor | int) -> Tensor:
        """The weighted sum, or one candidate alone.

        Args:
            x: [B, C, ...].
            weights: [K], one weight a candidate; or the index of the only one to run.

        Returns:
            [B, C, ceil(... / stride)].
        """
        modules = list(self.candidates.values())
        if isinstance(weights, int):
            chosen: Tensor = modules[weights](x)
            return chosen
        if self.fused is not None and self.fused.applies(x):
            return self.fused(x, weights)
        live = [module for module in modules if not isinstance(module, Zero)]
        return weighted_candidates(live, x, weights.index_select(0, self.live))
