"""The mixed operation: every candidate of an edge at once, weighted."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from .candidates import MAX_POOL, Candidate, Zero, avg_pool
from .fused import FusedEdge, fuse
from .normed import weighted_candidates
from .relaxed import Row

__all__ = ["MixedOp"]


class MixedOp(nn.Module):
    """out = sum over k of w_k candidate_k(x) (Liu et al. 2019, equation 2).

    Runs as one op where its candidates allow, and one by one otherwise; its state is the same.

    With partial channels (PC-DARTS, Xu et al. 2020, arXiv 1907.05737) only the first of
    ``partial`` equal shares of the channels goes through the candidates; the others pass by (at
    stride 2 through the largest of 2x2 windows), and the channels are shuffled so that each share
    has its turn.

    Args:
        candidates: Name -> candidate, in the order of the weights.
        channels: Channels of input and output.
        stride: 1 or 2.
        dims: Spatial dimensions.
        partial: Shares that the channels are cut into; 1 runs all through the candidates.

    Attributes:
        auxiliary: Weight of a second skip connection beside the candidates, without parameters
            (DARTS-, Chu et al. 2021, arXiv 2009.01027): the identity, or a mean at stride 2.
        fuses: Whether it may run as one op.
    """

    def __init__(
        self,
        candidates: Mapping[str, Candidate],
        channels: int,
        stride: int,
        dims: int,
        partial: int = 1,
    ) -> None:
        super().__init__()
        if partial < 1 or channels % partial:
            raise UsageError(
                f"{channels} channels cannot be cut into {partial} partial shares: use channels "
                f"that are a multiple of {partial}."
            )
        self.stride, self.partial, self.dims = stride, partial, dims
        self.share = channels // partial
        self.makers = dict(candidates)
        self.candidates = nn.ModuleDict(
            {name: make(self.share, stride, False, dims) for name, make in candidates.items()}
        )
        self.bypass = MAX_POOL[dims](2, 2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.mean = avg_pool(stride, dims) if stride == 2 else nn.Identity()
        self.auxiliary = 0.0
        self.fuses = True
        self.order: Tensor
        order = torch.arange(channels).view(partial, self.share).t().reshape(-1)
        self.register_buffer("order", order, persistent=False)
        self._all = tuple(range(len(candidates)))
        self._places: dict[tuple[int, ...], Tensor] = {}
        # Made for all candidates at once; for fewer when they are first asked for.
        self._whole = fuse(list(self.candidates.values()), stride)
        self._fused = {self._all: self._whole}

    def with_partial(self, partial: int) -> "MixedOp":
        """A new edge of the same kind whose channels are cut into so many shares."""
        channels = self.share * self.partial
        edge = MixedOp(self.makers, channels, self.stride, self.dims, partial)
        edge.auxiliary, edge.fuses = self.auxiliary, self.fuses
        return edge

    @property
    def fused(self) -> FusedEdge | None:
        """The edge as one op, with all candidates; None where they do not allow it."""
        return self._whole

    def forward(self, x: Tensor, weights: Row | int) -> Tensor:
        """The weighted sum, or one candidate alone.

        Args:
            x: [B, C, ...].
            weights: [K], one weight a candidate; the same with those that run; or the index of
                the only one to run, with weight one.

        Returns:
            [B, C, ceil(... / stride)].
        """
        out = self._mix(x[:, : self.share] if self.partial > 1 else x, weights)
        if self.partial > 1:
            # Channel i of share j comes to place i x partial + j.
            out = torch.cat([out, self.bypass(x[:, self.share :])], 1).index_select(1, self.order)
        # A path alone is that of a plain network, which has no second skip connection.
        if self.auxiliary and not isinstance(weights, int):
            out = out + self.auxiliary * self.mean(x)
        return out

    def _mix(self, x: Tensor, weights: Row | int) -> Tensor:
        if isinstance(weights, int):
            chosen: Tensor = list(self.candidates.values())[weights](x)
            return chosen
        values, active = weights if isinstance(weights, tuple) else (weights, self._all)
        if len(active) < len(self._all):
            values = values.index_select(0, self._index(active, values.device))
            fused = self._edge(active) if self.fuses else None
        else:
            fused = self._whole if self.fuses else None
        y = None if fused is None else fused(x, values)
        if y is not None:
            return y
        modules = list(self.candidates.values())
        # A candidate that gives zeros needs no memory traffic and gets no gradient, only a place
        # among the weights.
        live = tuple(i for i, k in enumerate(active) if not isinstance(modules[k], Zero))
        if not live:
            zeros: Tensor = modules[active[0]](x)
            return zeros * values[0]
        if len(live) < len(active):
            values = values.index_select(0, self._index(live, values.device))
        return weighted_candidates([modules[active[i]] for i in live], x, values)

    def _edge(self, active: tuple[int, ...]) -> FusedEdge | None:
        if active not in self._fused:
            modules = list(self.candidates.values())
            self._fused[active] = fuse([modules[i] for i in active], self.stride)
        return self._fused[active]

    def _index(self, places: tuple[int, ...], device: torch.device) -> Tensor:
        found = self._places.get(places)
        if found is None or found.device != device:
            found = self._places[places] = torch.tensor(places, device=device)
        return found
