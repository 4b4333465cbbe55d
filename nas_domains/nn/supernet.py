"""The supernet of a cell space: shared weights, architecture parameters, single paths."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core.architecture import Architecture
from .cell import Cell, CellNetwork, Edge, EdgeWeights
from .relaxation import Relaxation, softmax

if TYPE_CHECKING:
    from .cell_space import CellSpace


class Supernet(nn.Module):
    """Holds every architecture of a cell space in shared weights.

    By default all candidates run, weighted by the relaxed architecture parameters; after
    :meth:`set_architecture` only those of one architecture do.

    Args:
        space: The space.
        body: The network whose edges are mixed operations.
        relaxation: From architecture parameters to weights.
    """

    def __init__(
        self, space: "CellSpace", body: CellNetwork, relaxation: Relaxation = softmax
    ) -> None:
        super().__init__()
        self.space = space
        self.body = body
        self.relaxation = relaxation
        shape = (len(space.design.edges), len(space.candidates))
        self.alphas = nn.ParameterDict(
            {kind: nn.Parameter(1e-3 * torch.randn(shape)) for kind in space.kinds}
        )
        self._path: EdgeWeights | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, outputs]."""
        out: Tensor = self.body(x, self._path if self._path is not None else self.edge_weights())
        return out

    def edge_weights(self) -> dict[str, dict[Edge, Tensor]]:
        """The relaxed weights: kind -> edge -> [K], differentiable."""
        edges = self.space.design.edges
        return {
            kind: dict(zip(edges, self.relaxation(alpha).unbind(0), strict=True))
            for kind, alpha in self.alphas.items()
        }

    def architecture_parameters(self) -> list[nn.Parameter]:
        """The parameters that a gradient strategy turns into an architecture."""
        return list(self.alphas.values())

    def weight_parameters(self) -> list[nn.Parameter]:
        """The shared weights of the network."""
        return list(self.body.parameters())

    def strengths(self) -> dict[str, Tensor]:
        """The relaxed weights of each kind as one detached tensor [E, K] on the CPU."""
        return {
            kind: self.relaxation(alpha).detach().float().cpu()
            for kind, alpha in self.alphas.items()
        }

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
        """
        genotype = self.space.genotype(architecture)
        network = self.space.network(
            genotype,
            self.body.stem[0].in_channels,  # type: ignore[index]
            self.body.classifier.out_features,
            supernet_size=True,
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
