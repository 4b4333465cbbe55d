"""What the candidates of a supernet cost, as rows that its weights multiply."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from ...core import registry
from ...core.architecture import Architecture
from ...core.limit import CostTable
from ...core.space import SearchSpace
from ...hardware.cost_table import edge_costs
from ...hardware.latency_table import EdgeLatency
from ...nn.cell_space import CellSpace
from ...nn.one_of_space import OneOfSpace

__all__ = ["CostRows", "MixingSpace"]


class MixingSpace(Protocol):
    """What selection under limits asks of a space whose supernet mixes candidates."""

    def decode(self, strengths: Mapping[str, Tensor], /) -> Architecture: ...

    def evidence(self, architecture: Architecture, logs: Mapping[str, Tensor], /) -> float: ...

    def neighbours(self, architecture: Architecture, /) -> list[Architecture]: ...


class CostRows:
    """A cost of a space's architectures as a base and rows [E, K], one a row of parameters.

    Args:
        base: What every architecture costs.
        rows: Kind -> what each candidate adds, [E, K].
        kept: Kind -> the share of architectures that have each row's choice, [E].
    """

    def __init__(
        self, base: float, rows: Mapping[str, Tensor], kept: Mapping[str, Tensor]
    ) -> None:
        self.base, self.rows, self.kept = base, dict(rows), dict(kept)

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        metric: str,
        input_shape: tuple[int, ...],
        outputs: int,
        latency: EdgeLatency | None = None,
    ) -> "CostRows":
        """The rows of a space's networks.

        Args:
            space: A space of cells, or of a model with OneOfs.
            metric: "params", "macs", or "latency_ms" in a space of cells.
            input_shape: Shape of one input, without the batch.
            outputs: Size of the output.
            latency: The measured table, where the metric is "latency_ms".
        """
        if isinstance(space, OneOfSpace):
            return cls._of_model(space, metric, input_shape, outputs)
        assert isinstance(space, CellSpace)
        if metric == "latency_ms":
            assert latency is not None
            base, edges = latency.base, latency.edges
        else:
            base, edges = edge_costs(space, input_shape, outputs)[metric]
        rows = {
            kind: torch.tensor(
                [
                    [edges[kind][edge][name] for name in space.candidates]
                    for edge in space.design.edges
                ],
                dtype=torch.float32,
            )
            for kind in space.kinds
        }
        kept = torch.tensor([space.kept(edge) for edge in space.design.edges])
        return cls(base, rows, dict.fromkeys(space.kinds, kept))

    @classmethod
    def _of_model(
        cls, space: OneOfSpace, metric: str, input_shape: tuple[int, ...], outputs: int
    ) -> "CostRows":
        """Each option's difference to the cheapest of its choice; other choices stand still.

        Exact where a cost is a sum over choices; else near the architecture they stand still at.
        """
        table: CostTable | None = space.cost_tables(input_shape, outputs).get(metric)

        def cost(architecture: Architecture) -> float:
            if table is not None and table.exact:
                return table.cost(architecture)
            network = space.build(architecture, input_shape, outputs)
            return float(registry.actions.load("costs")(network, input_shape)[metric])

        parents = {c.name: (c.parent, c.when) for c in space.choices}
        choices = {c.name: c for c in space.choices}
        first = space.complete({}, None)
        base = cost(first)
        rows, kept = {}, {}
        for kind, names in space.kinds.items():
            found, shares = [], []
            for name in names:
                # The options above it that let it be there.
                above, share = {}, 1.0
                parent, when = parents[name]
                while parent is not None:
                    above[parent] = when[0]
                    share *= len(when) / len(choices[parent].options)
                    parent, when = parents[parent]
                each = [
                    cost(space.complete({**above, name: option}, None))
                    for option in choices[name].options
                ]
                found.append([value - min(each) for value in each])
                shares.append(share)
                if name in first:
                    base -= each[choices[name].options.index(first[name])] - min(each)
            rows[kind] = torch.tensor(found, dtype=torch.float32)
            kept[kind] = torch.tensor(shares)
        return cls(base, rows, kept)

    @staticmethod
    def metrics(space: SearchSpace) -> tuple[str, ...]:
        """The costs that a space has rows of."""
        if isinstance(space, CellSpace):
            return "params", "macs", "latency_ms"
        return ("params", "macs") if isinstance(space, OneOfSpace) else ()

    def expected(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The mean cost of architectures whose candidates are drawn by weights [E, K]."""
        total = torch.tensor(self.base)
        for kind, row in self.rows.items():
            own = weights[kind]
            costs, kept = row.to(own.device), self.kept[kind].to(own.device)
            total = total.to(own.device) + (own * costs * kept[:, None]).sum()
        return total
