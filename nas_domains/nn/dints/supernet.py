"""The supernet of a DiNTS space: all paths with all candidates, weighted or one architecture."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...core.architecture import Architecture
from ..relaxed import RelaxedSupernet, Row
from .fused import run_layer, weighted_cell
from .layers import Cell
from .network import DintsNetwork, Frame, key

if TYPE_CHECKING:
    from .space import DintsSpace

__all__ = ["CANDIDATE", "PATH", "DintsSupernet"]

PATH, CANDIDATE = "paths", "candidates"


class DintsSupernet(RelaxedSupernet):
    """Holds every architecture of a DiNTS space in shared weights.

    Two kinds of rows, one of each for every path: ``candidates`` [rows, K], and ``paths``, whose
    weights [rows, 2] are those of leaving the path out and of having it. Of the latter the first
    parameter is zero and only the second learns, so that a softmax over both is the sigmoid of
    He et al. 2021. As there, the weights of a block's paths are divided by the probability that
    the block has any.

    Args:
        space: The space.
        frame: Sizes.
    """

    def __init__(self, space: "DintsSpace", frame: Frame) -> None:
        self._paths = len(frame.topology.paths)
        rows = frame.blocks * self._paths
        super().__init__({PATH: (rows, 2), CANDIDATE: (rows, len(space.candidates))})
        self.alphas[PATH] = nn.Parameter(1e-3 * torch.randn(rows, 1))
        self.space, self.frame = space, frame
        self.body = self._laid_out(DintsNetwork(frame))
        self._cells: dict[tuple[int, int], int] | None = None

    def _laid_out(self, network: DintsNetwork) -> DintsNetwork:
        """Channels innermost, in weights too, so that no convolution lays them out anew."""
        form = torch.channels_last_3d if self.frame.dims == 3 else torch.channels_last
        network.to(memory_format=form)  # type: ignore[call-overload]
        return network

    def parameters_of(self, kind: str) -> Tensor:
        """See the base; a path's first parameter is zero."""
        parameters: Tensor = self.alphas[kind]
        if kind == PATH:
            parameters = torch.cat([torch.zeros_like(parameters), parameters], 1)
        return parameters.masked_fill(self.dropped[kind], -torch.inf)

    def scaled(self, kind: str, weights: Tensor) -> Tensor:
        """See the base; the weights of paths, given that their block has one."""
        if kind != PATH:
            return weights
        off, on = weights.reshape(-1, self._paths, 2).unbind(-1)
        some = 1 - off.prod(-1, keepdim=True)
        # Where gates draw none, nothing is divided: by next to nothing the gradient would explode.
        given = on / torch.where(some > 1e-6, some, 1)
        return torch.stack([off, given], -1).reshape(-1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> scores [B, outputs, ...] of the same sides."""
        if self._cells is not None:
            return self.body.run(x, self._one)
        paths, candidates = self.rows(PATH), self.rows(CANDIDATE)

        def cell(block: int, path: int, h: Tensor) -> Tensor | None:
            row = block * self._paths + path
            return _weighted(self.body.cell(block, path), h, paths[row], candidates[row])

        out: Tensor = self.body.run(x, cell, run_layer)
        if isinstance(paths[0], tuple):
            # So that a draw without any path has a gradient, which is zero.
            out = out + 0 * torch.stack([_split(row)[0] for row in paths]).sum()
        return out

    def _one(self, block: int, path: int, h: Tensor) -> Tensor | None:
        assert self._cells is not None
        index = self._cells.get((block, path))
        return None if index is None else self.body.cell(block, path)(h, index)

    def weight_parameters(self) -> list[nn.Parameter]:
        """The shared weights of the network."""
        return list(self.body.parameters())

    def decode(self) -> Architecture:
        """The architecture that the present weights speak for, by the rule of its space."""
        return self.space.decode(self.strengths())

    def set_architecture(self, architecture: Architecture | None) -> None:
        """Runs one architecture alone from now on; None goes back to all, weighted."""
        self._cells = None if architecture is None else self.space.cells(architecture)

    def extract(self, architecture: Architecture) -> DintsNetwork:
        """The plain network of an architecture, with a copy of the shared weights."""
        cells = self.space.cells(architecture)
        # Laid out as here, so that it computes the same bits.
        network = self._laid_out(DintsNetwork(self.frame, cells))
        state = self.body.state_dict()
        names = {key(*place): index for place, index in cells.items()}
        network.load_state_dict({n: state[_source(n, names)] for n in network.state_dict()})
        network.train(self.training)
        return network


def _weighted(cell: Cell, h: Tensor, on: Row, own: Row) -> Tensor | None:
    """What a path adds to its node, or None where it was not drawn."""
    values, active = _split(on)
    if 1 not in active:
        return None
    weights, candidates = _split(own)
    return weighted_cell(cell, h, weights * values[1], candidates)


def _split(row: Row) -> tuple[Tensor, tuple[int, ...]]:
    """Weights, and which of them run."""
    return row if isinstance(row, tuple) else (row, tuple(range(len(row))))


def _source(name: str, cells: dict[str, int]) -> str:
    """The shared weight that a weight of a plain network comes from."""
    before, mark, after = name.partition(".op.ops.0.")
    place = before.rpartition(".")[2]
    return f"{before}.op.ops.{cells[place]}.{after}" if mark else name
