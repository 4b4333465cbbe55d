"""A table of latencies of a cell space's candidates, measured in minutes on the device at hand."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ..core.errors import UsageError
from ..core.files import write_text
from ..nn.cell_space import CellSpace
from .cost import measure_latency
from .cost_table import EdgeCosts, over_edges, probed

__all__ = ["EdgeLatency", "edge_latency"]


@dataclass(frozen=True)
class EdgeLatency:
    """Milliseconds of a forward pass of one input, as sums over edges.

    Attributes:
        base: What every network takes.
        edges: Kind of cell -> edge -> candidate -> what it adds in all cells of that kind.
    """

    base: float
    edges: EdgeCosts


def edge_latency(
    space: CellSpace,
    input_shape: tuple[int, ...],
    outputs: int,
    device: torch.device,
    path: Path,
    *,
    checked: int = 5,
) -> EdgeLatency:
    """Measures each candidate once for each shape that it meets, or reads what was measured.

    Sums of parts are not what a network takes: caches and launches are shared. So the table is
    scaled by what a few random networks take, the median of measured over summed.

    Args:
        space: The space, at the size of the network that is trained in the end.
        input_shape: Shape of one input, without the batch.
        outputs: Size of the network's output.
        device: Where networks will run.
        path: A JSON file; read where it is there, so that a resumed run has the same table.
        checked: Random networks.

    Raises:
        UsageError: The file is not such a table.
    """
    if path.exists():
        return _read(path, space)

    @cache
    def measured(name: str, stride: int, shape: tuple[int, ...]) -> float:
        module = space.candidates[name](shape[1], stride, True, space.design.dims)
        return measure_latency(module.to(device), shape[1:], device=device)

    network = probed(space, input_shape, outputs).to(device)
    base = measure_latency(network, input_shape)
    edges = over_edges(space, network, measured)
    table = space.cost_table(base, edges)
    ratios = []
    for architecture in space.sample(checked, np.random.default_rng(0)):
        network = space.build(architecture, input_shape, outputs).to(device)
        ratios.append(measure_latency(network, input_shape) / table.cost(architecture))
    scale = statistics.median(ratios)
    found = EdgeLatency(
        scale * base,
        {
            kind: {e: {name: scale * ms for name, ms in row.items()} for e, row in own.items()}
            for kind, own in edges.items()
        },
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(_plain(found), indent=1) + "\n")
    return found


def _plain(table: EdgeLatency) -> Mapping[str, object]:
    return {
        "base_ms": table.base,
        "edges_ms": {
            kind: {f"{i}->{j}": dict(row) for (i, j), row in own.items()}
            for kind, own in table.edges.items()
        },
    }


def _read(path: Path, space: CellSpace) -> EdgeLatency:
    try:
        content = json.loads(path.read_text())
        edges = {
            kind: {
                (int(e.partition("->")[0]), int(e.partition("->")[2])): {
                    name: float(ms) for name, ms in row.items()
                }
                for e, row in own.items()
            }
            for kind, own in content["edges_ms"].items()
        }
        whole = dict.fromkeys(space.design.edges, set(space.candidates))
        if any({e: set(row) for e, row in edges[kind].items()} != whole for kind in space.kinds):
            raise ValueError("another space")
        return EdgeLatency(float(content["base_ms"]), edges)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{str(path)!r} is not a table of latencies: remove it, and it is measured again."
        ) from None
