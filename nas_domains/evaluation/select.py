"""Which of the searched architectures wins, and which no other dominates."""

from collections.abc import Sequence
from typing import Any

from ..core.errors import UsageError
from ..core.history import Record
from ..core.objective import pareto
from .context import Context


def choose(context: Context, records: Sequence[Record]) -> Record:
    """The record that wins: limits kept, the best goal, then the lower loss, then the later.

    Raises:
        UsageError: No record keeps the limits, or none has a score.
    """
    fit = [r for r in records if context.allows(r.metrics)]
    if not fit:
        limit = next(o for o in context.objectives if o.limit is not None)
        values = [v for r in records if (v := r.metrics.get(limit.metric)) is not None]
        nearest = (min if limit.direction == "min" else max)(values, default=float("nan"))
        raise UsageError(
            f"None of the {len(records)} architectures searched keeps "
            f"{', '.join(str(o) for o in context.objectives if o.limit is not None)} (the nearest "
            f"has {limit.metric} {nearest:g}): raise the limit or the budget."
        )
    return max(
        fit, key=lambda r: (context.goal.score(r.metrics), context.score(r.metrics), r.step)
    )


def front(context: Context, records: Sequence[Record]) -> list[dict[str, Any]]:
    """The distinct architectures that keep the limits and that no other dominates."""
    best: dict[str, Record] = {}
    for record in records:
        if context.allows(record.metrics):
            key = repr(record.architecture)
            if key not in best or context.score(record.metrics) > context.score(best[key].metrics):
                best[key] = record
    kept = list(best.values())
    scores = [[o.score(r.metrics) for o in context.objectives] for r in kept]
    return [
        {"architecture": dict(kept[i].architecture or {}), "metrics": dict(kept[i].metrics)}
        for i in pareto(scores)
    ]
