"""Cost tables of cell spaces: what each candidate adds on each edge, measured and not derived."""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor, nn

from ..core.architecture import Option
from ..nn.cell import Edge
from ..nn.cell_space import CellSpace
from .cost import count_params, macs_of

METRICS = ("params", "macs")

EdgeCosts = Mapping[str, Mapping[Edge, Mapping[Option, float]]]
"""Kind of cell -> edge -> candidate -> what it adds in all cells of that kind."""


class Probe(nn.Module):
    """Stands for a candidate, costs nothing and keeps the shape of what it was given."""

    def __init__(self, kind: str, edge: Edge, stride: int) -> None:
        super().__init__()
        self.kind, self.edge, self.stride = kind, edge, stride
        self.shape: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, C, ceil(... / stride)]."""
        self.shape = tuple(x.shape)
        at = (slice(None), slice(None)) + (slice(None, None, self.stride),) * (x.dim() - 2)
        return x[at]


def edge_costs(
    space: CellSpace, input_shape: tuple[int, ...], outputs: int
) -> dict[str, tuple[float, EdgeCosts]]:
    """Parameters and multiply-accumulates of a cell space's networks, edge by edge.

    The network is built once with probes on all its edges, and each candidate once for each shape
    that it meets, on torch's device "meta", where no number is computed. What is counted is thus
    what :func:`nas_domains.hardware.cost.count_params` and ``count_macs`` count of the whole
    network; that it adds up is tested for each space.

    Args:
        space: The space, at the size of the network that is trained in the end.
        input_shape: Shape of one input, without the batch.
        outputs: Size of the network's output.

    Returns:
        "params" and "macs", each with what every architecture costs and with the rest by edge.
    """
    dims = space.design.dims

    @cache
    def measured(name: str, stride: int, shape: tuple[int, ...]) -> dict[str, int]:
        candidate = space.candidates[name](shape[1], stride, True, dims)
        return {"params": count_params(candidate), "macs": macs_of(candidate, torch.empty(shape))}

    with torch.device("meta"):
        network = probed(space, input_shape, outputs)
        base = {"params": count_params(network)}
        base["macs"] = macs_of(network, torch.empty((1, *input_shape)))
        return {
            metric: (
                float(base[metric]),
                over_edges(space, network, lambda *at, m=metric: measured(*at)[m]),
            )
            for metric in METRICS
        }


def probed(space: CellSpace, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A space's network with all its edges, a :class:`Probe` on each."""
    cells, channels = space.sizes(False)
    return space.stack(
        lambda kind, edge, c, stride: Probe(kind, edge, stride),
        {kind: space.design.edges for kind in space.kinds},
        c_in=input_shape[0],
        channels=channels,
        cells=cells,
        outputs=outputs,
        affine=True,
    )


def over_edges(
    space: CellSpace, network: nn.Module, cost: Callable[[str, int, tuple[int, ...]], float]
) -> EdgeCosts:
    """What each candidate adds on each edge, in all cells of a kind.

    Args:
        space: The space.
        network: Of :func:`probed`, after a forward pass.
        cost: (candidate, stride, shape of its input) -> what it costs there.
    """
    found: dict[str, dict[Edge, dict[Option, float]]] = {
        kind: {edge: dict.fromkeys(space.candidates, 0.0) for edge in space.design.edges}
        for kind in space.kinds
    }
    for probe in network.modules():
        if isinstance(probe, Probe):
            for name in space.candidates:
                # Networks leave the edges of this candidate out.
                if name != "none":
                    found[probe.kind][probe.edge][name] += cost(name, probe.stride, probe.shape)
    return found
