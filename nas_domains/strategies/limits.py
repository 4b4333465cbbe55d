"""The limits of a run, as what gradient strategies draw, weigh and decode by."""

from ..core.limit import Limit, bands_of
from ..core.objective import Objective
from ..evaluation.context import Context
from ..hardware.latency_table import EdgeLatency, edge_latency
from ..nn.cell_space import CellSpace
from .parts.costs import CostRows

__all__ = ["limited"]

MARGIN = 0.95
"""Share of a limit on latency that the table may say: what is measured in the end scatters."""


def limited(context: Context) -> tuple[Limit | None, dict[str, CostRows]]:
    """The limit on all costs that the objectives bound, and the costs as rows.

    Latency is that of a table, measured once a run on its device and kept beside its checkpoints;
    the network that is found is measured again.

    Args:
        context: Of the run.

    Returns:
        None without limits; metric -> rows.
    """
    space, task = context.space, context.task
    limits = [o for o in context.objectives if o.limit is not None]
    if not limits:
        return None, {}
    latency: EdgeLatency | None = None
    if any(o.metric == "latency_ms" for o in limits):
        assert isinstance(space, CellSpace)
        path = context.checkpoints / "latency_table.json"
        latency = edge_latency(space, task.input_shape, task.outputs, context.device, path)
    rows = {
        o.metric: CostRows.of(space, o.metric, task.input_shape, task.outputs, latency)
        for o in limits
    }
    if latency is None:
        return space.limit(limits, task.input_shape, task.outputs), rows
    assert isinstance(space, CellSpace)
    tables = space.cost_tables(task.input_shape, task.outputs)
    tables["latency_ms"] = space.cost_table(latency.base, latency.edges)
    return Limit(space, bands_of([_within(o) for o in limits], list(tables)), tables), rows


def _within(objective: Objective) -> Objective:
    if objective.metric != "latency_ms" or objective.limit is None:
        return objective
    return Objective(objective.metric, objective.direction, MARGIN * objective.limit)
