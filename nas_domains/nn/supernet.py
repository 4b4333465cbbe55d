"""The supernet of a cell space: shared weights, architecture parameters, single paths."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core.architecture import Architecture
from ..core.errors import UsageError
from .cell import Cell, CellNetwork, Edge, EdgeWeights
from .mixed import MixedOp
from .relaxed import RelaxedSupernet, Row

if TYPE_CHECKING:
    from .cell_space import CellSpace


class Supernet(RelaxedSupernet):
    """Holds every architecture of a cell space in shared weights.

    By default all candidates run, weighted by the relaxed architecture parameters; after
    :meth:`set_architecture` only those of one architecture do.

    Args:
        space: The space.
        body: The network whose edges are mixed operations.
        edge_weights: Whether each edge has a parameter of its own too; those of a node's inputs
            are normalised by a softmax and multiply its weights (edge normalisation of PC-DARTS,
            Xu et al. 2020).
    """

    def __init__(self, space: "CellSpace", body: CellNetwork, edge_weights: bool = False) -> None:
        shape = (len(space.design.edges), len(space.candidates))
        super().__init__(dict.fromkeys(space.kinds, shape))
        self.space = space
        self.body = body
        self.betas = nn.ParameterDict(
            {kind: nn.Parameter(1e-3 * torch.randn(shape[0])) for kind in space.kinds}
            if edge_weights
            else {}
        )
        self._path: EdgeWeights | None = None
        self._left_out: tuple[str, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, outputs]."""
        out: Tensor = self.body(x, self._path if self._path is not None else self.edge_weights())
        return out

    def edge_weights(self) -> dict[str, dict[Edge, Row]]:
        """The relaxed weights, differentiable: kind -> edge -> what a mixed operation takes."""
        edges = self.space.design.edges
        return {kind: dict(zip(edges, self.rows(kind), strict=True)) for kind in self.alphas}

    def scaled(self, kind: str, weights: Tensor) -> Tensor:
        """Weights times those of their edges, which sum to one over the inputs of a node."""
        if kind not in self.betas:
            return weights
        beta, factors = self.betas[kind], []
        for node in sorted({j for _, j in self.space.design.edges}):
            into = [e for e, (_, j) in enumerate(self.space.design.edges) if j == node]
            factors.append(torch.softmax(beta[into], 0))
        # Edges are ordered by their target.
        return weights * torch.cat(factors)[:, None]

    def expected(self, kind: str) -> Tensor:
        """The weights [E, K] without chance; zero on an edge that is left out."""
        weights = super().expected(kind)
        if self._left_out is not None and self._left_out[0] == kind:
            kept = torch.ones(len(weights), 1, dtype=weights.dtype, device=weights.device)
            kept[self._left_out[1]] = 0
            weights = weights * kept
        return weights

    @contextmanager
    def without(self, kind: str, edge: int) -> Iterator[None]:
        """Within the block the edge of that number gives zeros, in all cells of a kind."""
        self._left_out = (kind, edge)
        try:
            yield
        finally:
            self._left_out = None

    def mixed_operations(self) -> list[MixedOp]:
        """All edges of all cells."""
        return [m for m in self.body.modules() if isinstance(m, MixedOp)]

    def architecture_parameters(self) -> list[nn.Parameter]:
        """The parameters that a gradient strategy turns into an architecture."""
        return [*super().architecture_parameters(), *self.betas.values()]

    def weight_parameters(self) -> list[nn.Parameter]:
        """The shared weights of the network."""
        return list(self.body.parameters())

    def decode(self) -> Architecture:
        """The architecture that the present weights speak for, by the rule of its space."""
        return self.space.decode(self.strengths())

    def set_architecture(self, architecture: Architecture | None) -> None:
        """Runs one architecture alone from now on; None goes back to all, weighted."""
        self._path = None if architecture is None else self._indices(architecture)

    def _indices(self, architecture: Architecture) -> dict[str, dict[Edge, int]]:
        names = list(self.space.candidates)
        return {
            kind: {edge: names.index(name) for edge, name in edges.items()}
            for kind, edges in self.space.genotype(architecture).items()
        }

    def extract(self, architecture: Architecture) -> CellNetwork:
        """The plain network of an architecture, with a copy of the shared weights.

        Its batch norms inside the edges have no affine parameters, as those of the supernet.

        Raises:
            UsageError: Only part of the channels went through the candidates.
        """
        if any(m.partial > 1 for m in self.mixed_operations()):
            raise UsageError(
                "Weights of a supernet with partial channels fit no plain network: build the "
                "architecture anew."
            )
        genotype = self.space.genotype(architecture)
        network = self.space.network(
            genotype,
            self.body.stem[0].in_channels,  # type: ignore[index]
            self.body.classifier.out_features,
            sizes=self.space.sizes(True),
            affine=False,
        )
        state = self.body.state_dict()
        network.load_state_dict(
            {key: state[self._source(key, genotype)] for key in network.state_dict()}
        )
        network.train(self.training)
        return network

    def _source(self, key: str, genotype: Mapping[str, Mapping[Edge, str]]) -> str:
        """The shared weight that a weight of a plain network comes from."""
        parts = key.split(".")
        if len(parts) < 4 or parts[0] != "cells" or parts[2] != "edges":
            return key
        cell = self.body.cells[int(parts[1])]
        assert isinstance(cell, Cell)
        i, j = map(int, parts[3].split("-"))
        candidate = genotype[cell.kind][i, j]
        return ".".join([*parts[:4], "candidates", candidate, *parts[4:]])
