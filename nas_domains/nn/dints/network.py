"""Networks of DiNTS: stems, blocks of paths between resolutions, and what puts them together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from .layers import CANDIDATES, CONV, Cell, ConvUnit, Kernels, stem_down, stem_up
from .topology import Bools, Topology

__all__ = ["Cells", "DintsNetwork", "Frame", "key"]

Cells = Mapping[tuple[int, int], int]
"""(block, path) -> number of its candidate, for each path that is there."""

Nodes = list[Tensor | None]


@dataclass(frozen=True)
class Frame:
    """What is the same for all networks of a space, for one input and output.

    Attributes:
        dims: 2 or 3.
        blocks: Number of blocks.
        depths: Number of resolutions.
        filters: Channels of the image's resolution and of each half of it, one more than depths.
        down: Whether the finest resolution of the blocks is half of the image's.
        c_in: Channels of the image.
        outputs: Number of classes.
    """

    dims: int
    blocks: int
    depths: int
    filters: tuple[int, ...]
    down: bool
    c_in: int
    outputs: int

    @property
    def topology(self) -> Topology:
        """Its paths."""
        return Topology(self.blocks, self.depths)

    def channels(self, node: int) -> int:
        """Channels of a resolution in the blocks."""
        return self.filters[node + int(self.down)]

    def cell(self, path: int, candidates: list[Kernels]) -> Cell:
        """The cell of a path."""
        p = self.topology.paths[path]
        return Cell(
            self.dims, self.channels(p.source), self.channels(p.target), p.rate, candidates
        )


def key(block: int, path: int) -> str:
    """The name of a path's cell, which is MONAI's."""
    return str((block, path))


class _Space(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell_tree = nn.ModuleDict()


class DintsNetwork(nn.Module):
    """The network of some paths, each with one candidate or with all.

    Its parameters have the names of those of ``monai.networks.nets.DiNTS`` with
    ``TopologyInstance`` (one candidate) or ``TopologySearch`` (all); stems that nothing reads,
    which are there in MONAI's, are left out.

    Args:
        frame: Sizes.
        cells: The paths, which lie on ways from inputs to outputs, and their candidates; None for
            all paths with all candidates.
    """

    def __init__(self, frame: Frame, cells: Cells | None = None) -> None:
        super().__init__()
        self.frame, topology = frame, frame.topology
        self.paths = topology.paths
        candidates = list(CANDIDATES[frame.dims].values())
        active = np.ones((frame.blocks, len(self.paths)), dtype=bool)
        if cells is not None:
            active = np.zeros_like(active)
            for place in cells:
                active[place] = True
        self.nodes: Bools = topology.nodes(active)
        coarsest = int(np.flatnonzero(self.nodes[-1])[-1])
        self.stem_down = nn.ModuleDict(
            {
                str(d): stem_down(frame.dims, frame.c_in, frame.filters, d, frame.down)
                for d in range(frame.depths)
                if self.nodes[0, d]
            }
        )
        self.stem_up = nn.ModuleDict(
            {
                str(d): stem_up(frame.dims, frame.filters, d, frame.down)
                for d in range(coarsest + 1)
            }
        )
        self.stem_finals = nn.Sequential(
            ConvUnit(frame.dims, frame.filters[0], ((3,) * frame.dims,)),
            CONV[frame.dims](frame.filters[0], frame.outputs, 1),
        )
        self.dints_space = _Space()
        for block, path in zip(*np.nonzero(active), strict=True):
            own = candidates if cells is None else [candidates[cells[block, path]]]
            self.dints_space.cell_tree[key(int(block), int(path))] = frame.cell(int(path), own)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> scores [B, outputs, ...] of the same sides."""
        return self.run(x, lambda block, path, h: self.cell(block, path)(h))

    def cell(self, block: int, path: int) -> Cell:
        """The cell of a path that is there."""
        found: Cell = self.dints_space.cell_tree[key(block, path)]  # type: ignore[assignment]
        return found

    def run(
        self,
        x: Tensor,
        cell: Callable[[int, int, Tensor], Tensor | None],
        layer: Callable[[nn.Module, Tensor], Tensor] = lambda module, h: module(h),
    ) -> Tensor:
        """What :meth:`forward` does, with the cells and the stems run by others.

        Args:
            x: [B, C, ...].
            cell: (block, path, input) -> what the path adds to its node; None for nothing.
            layer: (a stem, input) -> its output.
        """
        nodes: Nodes = [
            layer(self.stem_down[str(d)], x) if str(d) in self.stem_down else None
            for d in range(self.frame.depths)
        ]
        for block in range(self.frame.blocks):
            after: Nodes = [None] * self.frame.depths
            for path, ends in enumerate(self.paths):
                h = nodes[ends.source]
                if h is None or key(block, path) not in self.dints_space.cell_tree:
                    continue
                y, held = cell(block, path, h), after[ends.target]
                if y is not None:
                    after[ends.target] = y if held is None else held + y
            # Where no path of a block was drawn, its input goes on.
            nodes = after if any(h is not None for h in after) else nodes
        out: Tensor | None = None
        for d in reversed(range(self.frame.depths)):
            h = nodes[d]
            if out is not None:
                out = layer(self.stem_up[str(d)], out if h is None else h + out)
            elif h is not None:
                out = layer(self.stem_up[str(d)], h)
        assert out is not None
        return layer(self.stem_finals, out)
