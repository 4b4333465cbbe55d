"""Spaces of cells: what a choice means as edges, and the modules made of them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from ..core.architecture import Architecture, Option
from ..core.errors import UsageError
from ..core.limit import CostTable
from ..core.space import Choice, SearchSpace
from .candidates import Candidate
from .cell import CellNetwork, Design, Edge
from .mixed import MixedOp
from .supernet import Supernet

Genotype = Mapping[str, Mapping[Edge, str]]
"""Kind of cell -> edge -> name of its candidate; edges that are not there are absent."""


class CellSpace(SearchSpace):
    """A space whose architectures are cells, stacked by a fixed rule.

    Subclasses say how choices read as edges (:meth:`genotype`), how the weights of a supernet are
    turned into choices (:meth:`decode`) and how cells are stacked (:meth:`stack`).

    Args:
        name: Registered name.
        choices: The decisions.
        design: Shape of the cells.
        candidates: Name -> candidate, in the order of a supernet's weights.
        kinds: Kinds of cells, e.g. ("normal", "reduce").
        config: ``cells`` and ``channels``, and ``supernet_cells``, ``supernet_channels`` where the
            supernet is smaller than the network that is trained in the end.
    """

    has_supernet = True
    mixes = True

    def __init__(
        self,
        name: str,
        choices: Sequence[Choice],
        design: Design,
        candidates: Mapping[str, Candidate],
        kinds: tuple[str, ...],
        config: Mapping[str, Any],
    ) -> None:
        for key, value in config.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(
                    f"{key}={value!r} of the space {name!r} must be a whole number > 0."
                )
        super().__init__(name, choices, config)
        self.design = design
        self.candidates = dict(candidates)
        self.kinds = kinds

    @abstractmethod
    def genotype(self, architecture: Architecture) -> dict[str, dict[Edge, str]]:
        """The edges of each kind of cell with their candidates."""

    @abstractmethod
    def decode(self, strengths: Mapping[str, Tensor]) -> Architecture:
        """The architecture that weights [E, K] of each kind of cell speak for."""

    def evidence(self, architecture: Architecture, logs: Mapping[str, Tensor]) -> float:
        """The sum of what logarithms of weights, kind -> [E, K], say for its candidates."""
        names, edges = list(self.candidates), list(self.design.edges)
        return sum(
            float(logs[kind][edges.index(edge), names.index(name)])
            for kind, own in self.genotype(architecture).items()
            for edge, name in own.items()
        )

    @abstractmethod
    def cost_table(
        self, base: float, edges: Mapping[str, Mapping[Edge, Mapping[Option, float]]]
    ) -> CostTable:
        """The table of a cost that adds up over edges.

        Args:
            base: What every architecture costs.
            edges: Kind of cell -> edge -> candidate -> what it adds in all cells of that kind.
        """

    @abstractmethod
    def stack(
        self,
        make_edge: Any,
        edges: Mapping[str, Sequence[Edge]],
        *,
        c_in: int,
        channels: int,
        cells: int,
        outputs: int,
        affine: bool,
    ) -> CellNetwork:
        """Stacks cells into a network; see :mod:`nas_domains.nn.cell` for the arguments."""

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> CellNetwork:
        """The plain network of an architecture; see :meth:`SearchSpace.build`."""
        c_in = self._check_input(input_shape)
        return self.network(self.genotype(architecture), c_in, outputs)

    def slim(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> CellNetwork:
        """See :meth:`SearchSpace.slim`."""
        c_in, (cells, width) = self._check_input(input_shape), self.sizes(False)
        width = min(width, self.sizes(True)[1])
        return self.network(self.genotype(architecture), c_in, outputs, sizes=(cells, width))

    def network(
        self,
        genotype: Genotype,
        c_in: int,
        outputs: int,
        *,
        sizes: tuple[int, int] | None = None,
        affine: bool = True,
    ) -> CellNetwork:
        """The plain network of a genotype, of given (cells, channels) or of its own."""
        cells, channels = sizes or self.sizes(False)

        def make_edge(kind: str, edge: Edge, c: int, stride: int) -> nn.Module:
            return self.candidates[genotype[kind][edge]](c, stride, affine, self.design.dims)

        return self.stack(
            make_edge,
            # An edge that gives zeros is left out: a cell sums what is there.
            {
                k: [e for e, name in edges.items() if name != "none"]
                for k, edges in genotype.items()
            },
            c_in=c_in,
            channels=channels,
            cells=cells,
            outputs=outputs,
            affine=affine,
        )

    def supernet(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        partial: int = 1,
        edge_weights: bool = False,
    ) -> Supernet:
        """The supernet; see :meth:`SearchSpace.supernet`.

        Args:
            input_shape: Shape of one input, without the batch.
            outputs: Size of the output.
            partial: See :class:`MixedOp`.
            edge_weights: See :class:`Supernet`.
        """
        c_in = self._check_input(input_shape)
        cells, channels = self.sizes(True)

        def make_edge(kind: str, edge: Edge, c: int, stride: int) -> nn.Module:
            return MixedOp(self.candidates, c, stride, self.design.dims, partial)

        body = self.stack(
            make_edge,
            {kind: self.design.edges for kind in self.kinds},
            c_in=c_in,
            channels=channels,
            cells=cells,
            outputs=outputs,
            affine=False,
        )
        return Supernet(self, body, edge_weights)

    def sizes(self, supernet: bool) -> tuple[int, int]:
        """(cells, channels) of the supernet or of the network trained in the end."""
        prefix = "supernet_" if supernet else ""
        return self.config[prefix + "cells"], self.config[prefix + "channels"]

    def kept(self, edge: Edge) -> float:
        """The share of architectures, drawn by weights that tell nothing, that have an edge."""
        return 1.0

    def parameter_free(self, architecture: Architecture) -> float:
        """The share of the edges whose candidates have no parameters; see the base."""
        edges = (own.values() for own in self.genotype(architecture).values())
        names = [name for own in edges for name in own]
        return sum(name in self.free for name in names) / max(1, len(names))

    @cached_property
    def free(self) -> set[str]:
        """The candidates without parameters to learn."""
        return {
            name
            for name, make in self.candidates.items()
            if next(make(2, 1, False, self.design.dims).parameters(), None) is None
        }

    def paths(self, architecture: Architecture) -> list[str]:
        """All paths from a cell's inputs to its output, as kind and candidates in order."""
        found: list[str] = []
        for kind, edges in self.genotype(architecture).items():
            ends = range(self.design.inputs, self.design.inputs + self.design.nodes)
            for start in range(self.design.inputs):
                for end in ends if self.design.concat else ends[-1:]:
                    found += [f"{kind}:{start}:{p}" for p in _walk(edges, start, end)]
        return sorted(set(found))

    def _check_input(self, input_shape: tuple[int, ...]) -> int:
        if len(input_shape) != self.design.dims + 1 or min(input_shape, default=0) < 1:
            raise UsageError(
                f"The space {self.name!r} takes inputs of {self.design.dims} dimensions and "
                f"channels first, not of shape {tuple(input_shape)}: its option dims says how "
                "many."
            )
        return input_shape[0]


def _walk(edges: Mapping[Edge, str], start: int, end: int) -> list[str]:
    if start == end:
        return [""]
    return [
        f"{candidate}>{rest}"
        for (i, j), candidate in edges.items()
        if i == start and j <= end and candidate != "none"
        for rest in _walk(edges, j, end)
    ]
