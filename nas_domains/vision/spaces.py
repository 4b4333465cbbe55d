"""The cell spaces of vision: ``darts`` and ``nasbench201``."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ..core.architecture import Architecture, Option
from ..core.errors import UsageError
from ..core.limit import CostTable
from ..core.space import Choice
from ..hardware.cost_table import EdgeCosts, edge_costs
from ..nn.candidates import DARTS, NASBENCH201, check_dims
from ..nn.cell import CellNetwork, Design, Edge, darts_network, staged_network
from ..nn.cell_space import CellSpace


class Darts(CellSpace):
    """The space of DARTS (Liu et al. 2019): two kinds of cells, four nodes, two inputs a node.

    A node's choices are the pair of states it reads (``normal.2.inputs`` = "0,1") and a candidate
    for each (``normal.2.first``, ``normal.2.second``); ``none`` weighs in the supernet but is not
    an option, as published. See :func:`darts` for the arguments.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        design = Design(inputs=2, nodes=4, concat=True, dims=config.get("dims", 2))
        operations = tuple(name for name in DARTS if name != "none")
        choices = []
        for kind in ("normal", "reduce"):
            for node in range(2, 2 + design.nodes):
                pairs = tuple(f"{a},{b}" for a, b in combinations(range(node), 2))
                choices.append(Choice(f"{kind}.{node}.inputs", pairs))
                choices.append(Choice(f"{kind}.{node}.first", operations))
                choices.append(Choice(f"{kind}.{node}.second", operations))
        super().__init__("darts", choices, design, DARTS, ("normal", "reduce"), config)
        for key in ("cells", "supernet_cells"):
            if config[key] < 2:
                raise UsageError(
                    f"{key}={config[key]} leaves no room for a reduction cell: use at least 2."
                )

    def genotype(self, architecture: Architecture) -> dict[str, dict[Edge, str]]:
        """See :meth:`CellSpace.genotype`."""
        edges: dict[str, dict[Edge, str]] = {kind: {} for kind in self.kinds}
        for kind in self.kinds:
            for node in range(2, 2 + self.design.nodes):
                a, b = map(int, str(architecture[f"{kind}.{node}.inputs"]).split(","))
                edges[kind][a, node] = str(architecture[f"{kind}.{node}.first"])
                edges[kind][b, node] = str(architecture[f"{kind}.{node}.second"])
        return edges

    def decode(self, strengths: Mapping[str, Tensor]) -> Architecture:
        """The two strongest inputs of each node, by the best weight save that of ``none``."""
        names = list(self.candidates)
        choices: dict[str, str] = {}
        for kind in self.kinds:
            weights = strengths[kind].clone()
            weights[:, names.index("none")] = -torch.inf
            best, which = weights.max(dim=1)
            for node in range(2, 2 + self.design.nodes):
                into = [e for e, edge in enumerate(self.design.edges) if edge[1] == node]
                # sorted is stable: of equally strong inputs the earlier stays.
                top = sorted(sorted(into, key=lambda e: -float(best[e]))[:2])
                a, b = (self.design.edges[e][0] for e in top)
                choices[f"{kind}.{node}.inputs"] = f"{a},{b}"
                choices[f"{kind}.{node}.first"] = names[int(which[top[0]])]
                choices[f"{kind}.{node}.second"] = names[int(which[top[1]])]
        return self.architecture(choices)

    def kept(self, edge: Edge) -> float:
        """See :meth:`CellSpace.kept`; a node reads two of the states before it."""
        return 2 / edge[1]

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """See :meth:`SearchSpace.cost_tables`."""
        self._check_input(input_shape)
        found = edge_costs(self, input_shape, outputs)
        return {metric: self.cost_table(*costs) for metric, costs in found.items()}

    def cost_table(self, base: float, edges: EdgeCosts) -> CostTable:
        """See :meth:`CellSpace.cost_table`; which input a node reads decides what it costs."""
        given: dict[str, tuple[str, dict[Option, Mapping[Option, float]]]] = {}
        for kind in self.kinds:
            for node in range(2, 2 + self.design.nodes):
                pairs = self._by_name[f"{kind}.{node}.inputs"].options
                for place, name in enumerate(("first", "second")):
                    columns = {
                        pair: edges[kind][int(str(pair).split(",")[place]), node] for pair in pairs
                    }
                    given[f"{kind}.{node}.{name}"] = (f"{kind}.{node}.inputs", columns)
        return CostTable(base, {}, given)

    def stack(
        self, make_edge: Any, edges: Mapping[str, Sequence[Edge]], **sizes: Any
    ) -> CellNetwork:
        """See :func:`nas_domains.nn.cell.darts_network`."""
        return darts_network(self.design, make_edge, edges, **sizes)


class NasBench201(CellSpace):
    """The space of NAS-Bench-201 (Dong & Yang 2020): one candidate on each of six edges.

    The choice ``0->1`` is the candidate on the edge from node 0, the cell's input, to node 1.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        design = Design(inputs=1, nodes=3, concat=False, dims=config.get("dims", 2))
        choices = [Choice(f"{i}->{j}", tuple(NASBENCH201)) for i, j in design.edges]
        super().__init__("nasbench201", choices, design, NASBENCH201, ("cell",), config)

    def genotype(self, architecture: Architecture) -> dict[str, dict[Edge, str]]:
        """See :meth:`CellSpace.genotype`; an edge with ``none`` keeps it."""
        return {"cell": {(i, j): str(architecture[f"{i}->{j}"]) for i, j in self.design.edges}}

    def decode(self, strengths: Mapping[str, Tensor]) -> Architecture:
        """The candidate of the largest weight on each edge, ``none`` included."""
        names = list(self.candidates)
        which = strengths["cell"].argmax(dim=1).tolist()
        return self.architecture(
            {f"{i}->{j}": names[k] for (i, j), k in zip(self.design.edges, which, strict=True)}
        )

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """See :meth:`SearchSpace.cost_tables`."""
        self._check_input(input_shape)
        found = edge_costs(self, input_shape, outputs)
        return {metric: self.cost_table(*costs) for metric, costs in found.items()}

    def cost_table(self, base: float, edges: EdgeCosts) -> CostTable:
        """See :meth:`CellSpace.cost_table`."""
        return CostTable(base, {f"{i}->{j}": own for (i, j), own in edges["cell"].items()})

    def stack(
        self, make_edge: Any, edges: Mapping[str, Sequence[Edge]], *, affine: bool, **sizes: Any
    ) -> CellNetwork:
        """See :func:`nas_domains.nn.cell.staged_network`."""
        return staged_network(self.design, make_edge, edges, **sizes)

    def arch_str(self, architecture: Architecture) -> str:
        """The benchmark's own form: ``|conv~0|+|skip~0|conv~1|+|...|``."""
        edges = self.genotype(architecture)["cell"]
        nodes = []
        for node in range(1, 1 + self.design.nodes):
            nodes.append("|" + "".join(f"{edges[i, node]}~{i}|" for i in range(node)))
        return "+".join(nodes)

    def from_arch_str(self, text: str) -> Architecture:
        """Reads what :meth:`arch_str` writes.

        Raises:
            UsageError: Not that form, or an unknown candidate.
        """
        choices: dict[str, str] = {}
        for node, part in enumerate(text.split("+"), 1):
            for term in filter(None, part.split("|")):
                name, _, source = term.partition("~")
                choices[f"{source}->{node}"] = name
        architecture = self.architecture(choices)
        if self.arch_str(architecture) != text:
            raise UsageError(
                f"{text!r} is not a cell of {self.name!r}: write |a~0|+|b~0|c~1|+|d~0|e~1|f~2|."
            )
        return architecture


def darts(
    cells: int = 8,
    channels: int = 16,
    supernet_cells: int | None = None,
    supernet_channels: int | None = None,
    dims: int = 2,
) -> Darts:
    """The DARTS space.

    Args:
        cells: Cells of the network that is trained in the end; reduction cells stand at one and
            two thirds of the depth, and never first.
        channels: Channels of a node in the first cells.
        supernet_cells: Cells of the supernet; ``cells`` where None.
        supernet_channels: Channels of the supernet; ``channels`` where None.
        dims: Spatial dimensions of the data: 2 for images, 3 for volumes.

    Raises:
        UsageError: Other dimensions.
    """
    return Darts(_sizes(cells, channels, supernet_cells, supernet_channels, dims))


def nasbench201(
    cells: int = 5,
    channels: int = 16,
    supernet_cells: int | None = None,
    supernet_channels: int | None = None,
    dims: int = 2,
) -> NasBench201:
    """The NAS-Bench-201 space.

    Args:
        cells: Cells in each of the three stages.
        channels: Channels of the first stage.
        supernet_cells: Cells a stage of the supernet; ``cells`` where None.
        supernet_channels: Channels of the supernet; ``channels`` where None.
        dims: Spatial dimensions of the data: 2 for images, 3 for volumes.

    Raises:
        UsageError: Other dimensions.
    """
    return NasBench201(_sizes(cells, channels, supernet_cells, supernet_channels, dims))


def _sizes(
    cells: int,
    channels: int,
    supernet_cells: int | None,
    supernet_channels: int | None,
    dims: int,
) -> dict[str, int]:
    check_dims(dims)
    # Spaces of images were there before dims was: their fingerprints stay.
    extra = {} if dims == 2 else {"dims": dims}
    return {
        "cells": cells,
        "channels": channels,
        "supernet_cells": cells if supernet_cells is None else supernet_cells,
        "supernet_channels": channels if supernet_channels is None else supernet_channels,
        **extra,
    }
