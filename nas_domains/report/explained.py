"""The charts of why the winner won: which choices mattered, and what each of its own is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

from .content import Content
from .svg import Chart, span
from .words import header, name_of, scale, several

__all__ = ["explained"]

MOST = 14
"""Choices that are drawn: those that matter most."""
KINDS = {"fanova": ("winner", "fANOVA"), "ped_anova": ("hand", "PED-ANOVA, of the best tenth")}
"""Way of telling importance -> class of the style sheet, name."""


def explained(content: Content) -> dict[str, Any] | None:
    """ "about", "charts" and "runner_up" of the section; None where a run has no explanation."""
    found = content.result.get("explanation")
    if not found:
        return None
    charts = [_importance(found), _left_out(content, found)]
    second = found["runner_up"]
    return {
        "n": several(found["n"], "architecture"),
        "charts": [chart for chart in charts if chart],
        "runner_up": second
        and {
            "step": second["step"],
            "why": second["why"],
            "differs": [
                (name, content.architecture.get(name, "-"), second["architecture"].get(name, "-"))
                for name in second["differs_in"]
            ]
            if content.architecture is not None
            else [],
        },
    }


def _ranked(found: Mapping[str, Any]) -> list[str]:
    """The choices that matter most, those first."""
    shares = found["importance"] or {}
    names = [*shares, *(row["choice"] for row in found["leave_one_out"])]
    weight = {n: s.get("fanova", {}).get("mean", 0.0) for n, s in shares.items()}
    return sorted(dict.fromkeys(names), key=lambda n: -weight.get(n, 0.0))[:MOST]


def _importance(found: Mapping[str, Any]) -> dict[str, Any] | None:
    shares = found["importance"]
    if not shares:
        return None
    names = [n for n in _ranked(found) if n in shares]
    ends = [
        s["mean"] + sign * s["std"] for n in names for s in shares[n].values() for sign in (-1, 1)
    ]
    chart = Chart(
        "Share of the scores' variance that each choice explains",
        span([0.0, *ends]),
        (len(names) - 0.5, -0.5),
        x_name="share of the variance",
        size=(460, 62 + 25 * len(names)),
        rows=names,
    )
    for i, name in enumerate(names):
        for j, (kind, share) in enumerate(shares[name].items()):
            cls, said = KINDS[kind]
            _dot(chart, share["mean"], share["std"], i + 0.24 * j - 0.12, cls, f"{said}: {name}")
    legend = [pair for kind, pair in KINDS.items() if any(kind in s for s in shares.values())]
    return {
        "title": "Which choices mattered",
        "svg": chart.markup,
        "legend": legend,
        "note": "Lines: ± one standard deviation over resamples of what was scored.",
    }


def _left_out(content: Content, found: Mapping[str, Any]) -> dict[str, Any] | None:
    rows = {row["choice"]: row for row in found["leave_one_out"]}
    names = [n for n in _ranked(found) if n in rows]
    if not names:
        return None
    metric = found.get("metric", content.goal.metric)
    factor = 1.0 if metric is None else scale(metric)
    unit = (found.get("worth") or "joint rank") if metric is None else header(metric)
    points: list[tuple[int, Mapping[str, Any], float, float]] = [
        (i, other, factor * other["loss"], factor * (other["std"] or 0.0))
        for i, name in enumerate(names)
        for other in rows[name]["others"]
    ]
    chart = Chart(
        "What the winner would lose by another option of each choice",
        span([0.0, *_ends(points)]),
        (len(names) - 0.5, -0.5),
        x_name=f"loss in {unit}" if metric != "loss" else "rise of the loss",
        size=(460, 62 + 25 * len(names)),
        rows=names,
    )
    chart.upright(0.0, "mean")
    for i, other, loss, std in points:
        measured = other["source"] == "measured"
        said = f"{names[i]} = {other['option']}: {loss:.3g} ({other['source']})"
        _dot(chart, loss, std, float(i), "winner" if measured else "random", said)
    sources = {other["source"] for _, other, _, _ in points}
    legend = [
        pair
        for pair, source in (
            (("winner", "scored in the search"), "measured"),
            (("random", "predicted, ± one standard deviation"), "predicted"),
        )
        if source in sources
    ]
    return {
        "title": "One choice of the winner changed",
        "svg": chart.markup,
        "legend": legend,
        "note": "A dot for each other option. Left of the line it would have a better "
        f"{unit if metric is None else name_of(metric)} than the winner.",
    }


def _ends(points: Sequence[tuple[int, Mapping[str, Any], float, float]]) -> list[float]:
    return [loss + sign * std for _, _, loss, std in points for sign in (-1, 1)]


def _dot(chart: Chart, x: float, std: float, y: float, cls: str, name: str) -> None:
    if std > 0:
        chart.whisker(x - std, x + std, y, cls)
    chart.dot(x, y, f"dot {cls}", name, 4.0)
