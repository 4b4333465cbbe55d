"""Which of the searched architectures wins, and which no other dominates."""

import math
from collections.abc import Sequence
from typing import Any

from ..core.errors import UsageError
from ..core.history import Record
from ..core.objective import pareto
from .context import Context


def choose(
    context: Context, records: Sequence[Record], worths: Sequence[float] | None = None
) -> Record:
    """The record that wins: limits kept, worth most, then the lower loss, then the later.

    Args:
        context: Of the run.
        records: Of the search.
        worths: Of each record, larger is better; its goal's score where None.

    Raises:
        UsageError: No record keeps the limits.
    """
    if worths is None:
        worths = [context.goal.score(r.metrics) for r in records]
    both = zip(worths, records, strict=True)
    fit = [(worth, r) for worth, r in both if context.allows(r.metrics)]
    if not fit:
        limit = next(o for o in context.objectives if o.limit is not None)
        values = [v for r in records if (v := r.metrics.get(limit.metric)) is not None]
        nearest = (min if limit.direction == "min" else max)(values, default=float("nan"))
        raise UsageError(
            f"None of the {len(records)} architectures searched keeps "
            f"{', '.join(str(o) for o in context.objectives if o.limit is not None)} (the nearest "
            f"has {limit.metric} {nearest:g}): raise the limit or the budget."
        )
    return max(fit, key=lambda pair: (pair[0], context.score(pair[1].metrics), pair[1].step))[1]


def front(context: Context, records: Sequence[Record]) -> list[dict[str, Any]]:
    """The distinct architectures that keep the limits and that no other dominates.

    Empty where the search measured the goal of none.
    """
    best: dict[str, Record] = {}
    for record in records:
        scored = context.goal.score(record.metrics) > -math.inf
        if scored and context.allows(record.metrics):
            key = repr(record.architecture)
            if key not in best or context.score(record.metrics) > context.score(best[key].metrics):
                best[key] = record
    kept = list(best.values())
    scores = [[o.score(r.metrics) for o in context.objectives] for r in kept]
    return [
        {"architecture": dict(kept[i].architecture or {}), "metrics": dict(kept[i].metrics)}
        for i in pareto(scores)
    ]
