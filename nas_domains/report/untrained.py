"""The chart of a search without training: what proxies say, over what a network costs."""

from typing import Any

from ..evaluation.proxies.joint import joint_ranks, size_bias
from .content import Content
from .svg import Chart, span
from .words import header, known

__all__ = ["untrained"]


def untrained(content: Content) -> list[dict[str, Any]]:
    """Joint rank over parameters and over multiply-accumulates; none where something trained."""
    records = [r for r in content.search if "proxies" in r.detail]
    ranks = joint_ranks([r.detail["proxies"] for r in records])
    charts = []
    for metric in ("params", "macs"):
        points = [
            (float(size), rank, r)
            for r, rank in zip(records, ranks, strict=True)
            if known(size := r.metrics.get(metric))
        ]
        if not points:
            continue
        name = header(metric)
        chart = Chart(
            f"Joint rank of the proxies over {name}",
            span([x for x, _, _ in points], 0.08),
            (-0.04, 1.04),
            x_name=name,
            y_name="joint rank",
        )
        for x, y, record in points:
            if record is content.best:
                chart.dot(x, y, "dot ring", "the winner", 8.0)
            chart.dot(x, y, "dot random", f"step {record.step}: joint rank {y:.3f}", 3.6)
        bias = size_bias([y for _, y, _ in points], [x for x, _, _ in points])
        shown = f"Spearman's correlation with {name}: {bias:.2f}. " if known(bias) else ""
        charts.append(
            {
                "title": f"What proxies say, over {name}",
                "svg": chart.markup,
                "legend": [("random", "scored"), ("ring", "the winner")],
                "note": f"{shown}Near 1 the proxies say little more than the size does.",
            }
        )
    return charts
