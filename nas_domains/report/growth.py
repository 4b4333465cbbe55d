"""The chart of how the front of several goals grew."""

from collections.abc import Sequence
from typing import Any

from .content import Content
from .svg import Chart, span
from .words import name_of

__all__ = ["growth"]


def growth(content: Content) -> list[dict[str, Any]]:
    """The dominated share of the box between worst and best, over steps and over time."""
    found = content.result.get("front")
    if not found or not found["hypervolume"]:
        return []
    rows: Sequence[tuple[float, float, float]] = found["hypervolume"]
    names = " and ".join(name_of(metric) for metric in found["objectives"])
    charts = []
    for x_name, at in (("trial", 0), ("seconds of search", 1)):
        chart = Chart(
            f"Hypervolume of {names} over the search",
            span([row[at] for row in rows], 0.02),
            span([0.0, *(row[2] for row in rows)]),
            x_name=x_name,
            y_name="share dominated",
        )
        chart.line([(row[at], row[2]) for row in rows], "winner", "hypervolume")
        charts.append(
            {
                "title": f"Hypervolume over the {'trials' if at == 0 else 'time spent'}",
                "svg": chart.markup,
                "legend": [],
                "note": "The share of the box between the worst and the best value of each goal, "
                "of all that was scored, that the front dominates.",
            }
        )
    return charts
