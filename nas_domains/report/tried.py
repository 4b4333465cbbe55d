"""The chart of what was tried out: how quickly each learnt, and how much it tells apart."""

from typing import Any

from ..strategies.tryout import FAILED, TRIED
from .content import Content
from .svg import Chart, span
from .words import known

__all__ = ["tried"]


def tried(content: Content) -> dict[str, Any] | None:
    """A dot for each architecture that was tried out; None where none was."""
    points = [
        (r.detail["early_loss"], r.detail["expressivity"], r)
        for r in content.search
        if r.fidelity.get("selection") == TRIED
        and known(r.detail.get("early_loss"))
        and known(r.detail.get("expressivity"))
    ]
    # What diverged, or is degenerate, would leave no room for the others.
    points = [point for point in points if max(map(abs, point[:2])) < FAILED]
    if not points:
        return None
    chart = Chart(
        "Expressivity over early training loss of what was tried out",
        span([x for x, _, _ in points], 0.08),
        span([y for _, y, _ in points], 0.1),
        x_name="early training loss",
        y_name="expressivity (naswot)",
    )
    for x, y, record in points:
        drawn = record.fidelity.get("drawn")
        kind = "uniform draw" if drawn else "found"
        label = f"step {record.step}, {kind}: loss {x:.3f}, expressivity {y:.1f}"
        if record.architecture == content.architecture:
            chart.dot(x, y, "dot ring", "the winner", 8.0)
        chart.dot(x, y, "dot random" if drawn else "dot winner", label, 4.0)
    legend = [
        ("random", "uniform draws"),
        ("winner", "found by the search, or proposed"),
        ("ring", "the winner"),
    ]
    note = (
        "Short trainings at full depth. Up and to the left is better, in standard deviations of "
        "the uniform draws; size counts too, and longer trainings of the best decide."
    )
    return {"title": "What was tried out", "svg": chart.markup, "legend": legend, "note": note}
