"""The charts of a report: test scores, the search, the full trainings, the Pareto front."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ..core.history import Record
from ..core.objective import Objective
from .content import Content, Row
from .svg import Chart, Point, element, path, span
from .tried import tried
from .words import header, known, name_of, scale, several, with_unit

LINES = {"winner": "winner", "random": "random", "hand-made": "hand"}
"""Kind of row -> class of the style sheet."""

LONG, START = 10, 0.2
"""Epochs from which a training is long, and the share of its start that is not drawn."""


def test_scores(content: Content) -> Markup | None:
    """A dot for each training's test score, by row, and the random mean with its spread."""
    metric = content.goal.metric
    factor = scale(metric)
    rows = [row for row in content.rows if row.values(metric)]
    baseline = content.result.get("random_baseline") or {}
    middle, std = baseline.get("mean"), baseline.get("std")
    values = [factor * v for row in rows for v in row.values(metric)]
    if not values:
        return None
    if known(middle):
        reach = std if known(std) else 0.0
        values += [factor * (middle - reach), factor * (middle + reach)]
    chart = Chart(
        f"Test {name_of(metric)} of each training, by network",
        span(values),
        (len(rows) - 0.5, -0.5),
        x_name=f"test {header(metric)}",
        size=(460, 62 + 25 * len(rows)),
        rows=[row.label for row in rows],
    )
    if known(middle):
        if known(std):
            chart.band(factor * (middle - std), factor * (middle + std), "band")
        chart.upright(factor * middle, "mean")
    for i, row in enumerate(rows):
        if len(row.values(metric)) > 1 and known(row.metrics.get(metric)):
            chart.mark(factor * row.metrics[metric], i, f"middle {LINES[row.kind]}")
        for record in row.tests:
            value = record.metrics.get(metric)
            if known(value):
                seed = record.stage.rpartition("/")[2]
                chart.dot(
                    factor * value,
                    i,
                    f"dot {LINES[row.kind]}",
                    f"{row.label}, seed {seed}: {with_unit(metric, value)}",
                )
    return chart.markup


def search_curves(content: Content) -> list[dict[str, Any]]:
    """The charts of the search, each with a title, a legend and a note."""
    if not content.search:
        return []
    records = [r for r in content.search if "train_loss" in r.detail]
    if records:
        charts = (
            _losses(records),
            _goal(content, records),
            _parameter_free(records),
            _eigenvalue(records),
            tried(content),
        )
        return [chart for chart in charts if chart]
    return [chart for chart in (_trials(content, False), _trials(content, True)) if chart]


def _losses(records: Sequence[Record]) -> dict[str, Any] | None:
    kinds = {
        "train_loss": ("one", "step of the weights"),
        "alpha_loss": ("two", "step of the architecture"),
    }
    lines = {
        cls: (name, [(r.step, _number(r.detail.get(key))) for r in records])
        for key, (cls, name) in kinds.items()
    }
    return _lines("Loss of the supernet", "epoch", "loss", lines)


def _goal(content: Content, records: Sequence[Record]) -> dict[str, Any] | None:
    metric = content.goal.metric
    points = [(r.step, _scaled(metric, r)) for r in records]
    lines = {"winner": (f"supernet {name_of(metric)}", points)}
    shown = _lines(f"{_capital(name_of(metric))} of the supernet", "epoch", header(metric), lines)
    if shown:
        shown["note"] = (
            "On the training data that is kept from the weights: all candidates at once, "
            "or the decode's path alone where the strategy trains paths."
        )
    return shown


def _parameter_free(records: Sequence[Record]) -> dict[str, Any] | None:
    points = [
        (r.step, 100 * share)
        for r in records
        if known(share := r.detail.get("parameter_free"))
    ]
    if not points:
        return None
    lines = {"two": ("edges without parameters", points)}
    shown = _lines("Edges of the decode without parameters", "epoch", "share, %", lines)
    if shown:
        shown["note"] = (
            "A share that rises towards all edges is the collapse of DARTS: such cells skip and "
            "pool, and learn little."
        )
    return shown


def _eigenvalue(records: Sequence[Record]) -> dict[str, Any] | None:
    points = [(r.step, _number(r.detail.get("eigenvalue"))) for r in records]
    if not any(value is not None for _, value in points):
        return None
    lines = {"one": ("dominant eigenvalue", points)}
    shown = _lines("Curvature in the architecture parameters", "epoch", "eigenvalue", lines)
    if shown:
        shown["note"] = (
            "Of the Hessian of the validation loss: where it rises fast, decodes get worse."
        )
    return shown


def _trials(content: Content, by_time: bool) -> dict[str, Any] | None:
    """Each trial's goal, and the best so far among those that keep the limits."""
    metric = content.goal.metric
    spent, at = 0.0, []
    for record in content.search:
        spent += record.seconds
        at.append(spent if by_time else float(record.step))
    points = [
        (x, value, record)
        for x, record in zip(at, content.search, strict=True)
        if (value := _scaled(metric, record)) is not None
    ]
    if not points:
        return None
    chart = Chart(
        f"{name_of(metric)} of each trial and the best so far",
        span([0.0 if by_time else 1.0, *at]),
        span([value for _, value, _ in points], 0.08),
        x_name="seconds of search" if by_time else "trial",
        y_name=f"validation {header(metric)}",
        whole=not by_time,
    )
    better = max if content.goal.direction == "max" else min
    stairs: list[tuple[float, float]] = []
    for x, value, record in points:
        if content.allows(record):
            best = better(stairs[-1][1], value) if stairs else value
            if stairs:
                stairs.append((x, stairs[-1][1]))
            stairs.append((x, best))
    if stairs:
        stairs.append((at[-1], stairs[-1][1]))
        group = element(chart.root, "g", cls="line winner")
        element(group, "path", d=path([chart.at(x, y) for x, y in stairs]))
    for x, value, record in points:
        cls = "dot one" if content.allows(record) else "dot hollow"
        name = f"trial {record.step}: {with_unit(metric, record.metrics[metric])}"
        chart.dot(x, value, cls, name, 3.6)
    legend = [("one dotted", "a trial"), ("winner", "best so far")]
    if not all(content.allows(r) for _, _, r in points):
        legend.insert(1, ("hollow", "breaks a limit"))
    title = "Over the time spent" if by_time else "Over the trials"
    return {"title": title, "svg": chart.markup, "legend": legend, "note": ""}


def training_curves(content: Content) -> list[dict[str, Any]]:
    """Training loss and validation goal of every row, a line for each seed."""
    metric = content.goal.metric
    charts = [
        _rows(
            "Training loss", "loss", content.rows, lambda r: _number(r.detail.get("train_loss"))
        ),
        _rows(
            f"Validation {name_of(metric)}",
            header(metric),
            content.rows,
            lambda r: _scaled(metric, r),
        ),
    ]
    return [chart for chart in charts if chart]


def _rows(title: str, y_name: str, rows: Sequence[Row], value: Any) -> dict[str, Any] | None:
    curves = [
        (row, seed, [(float(r.step), value(r)) for r in records])
        for row in rows
        for seed, records in row.training.items()
    ]
    last = max((x for _, _, points in curves for x, _ in points), default=0.0)
    # The steep start of a long training would leave no height for the differences at its end.
    first = START * last if last >= LONG else 0.0
    shown = [[(x, y) for x, y in points if x > first] for _, _, points in curves]
    chart = _chart(title, "epoch", y_name, shown)
    if chart is None:
        return None
    order = ("random", "hand-made", "winner")
    for row, seed, points in sorted(curves, key=lambda c: order.index(c[0].kind)):
        kept = [(x, y) for x, y in points if x > first]
        chart.line(kept, LINES[row.kind], f"{row.label}, seed {seed}")
    names = {"winner": "winner", "random": "random architectures", "hand-made": "hand-made"}
    there = {row.kind for row, _, _ in curves}
    legend = [(LINES[kind], name) for kind, name in names.items() if kind in there]
    note = f"The first {several(int(first), 'epoch')} are left out." if first >= 1 else ""
    return {"title": title, "svg": chart.markup, "legend": legend, "note": note}


def pareto(content: Content) -> list[dict[str, Any]]:
    """The searched architectures over the goal and each other objective; the front is marked."""
    if len(content.objectives) < 2:
        return []
    front = front_records(content)
    charts = [_scatter(content, other, front) for other in content.objectives[1:]]
    return [chart for chart in charts if chart]


def front_records(content: Content) -> list[tuple[Record | None, Mapping[str, Any]]]:
    """The front's members as (record of the search, metrics), by the second objective."""
    second = content.objectives[min(1, len(content.objectives) - 1)]
    found = [
        (
            next(
                (
                    r
                    for r in content.search
                    if r.architecture == entry["architecture"] and r.metrics == entry["metrics"]
                ),
                None,
            ),
            entry["metrics"],
        )
        for entry in content.result.get("pareto", [])
    ]
    return sorted(found, key=lambda member: -second.score(member[1]))


def _scatter(
    content: Content,
    other: Objective,
    front: Sequence[tuple[Record | None, Mapping[str, Any]]],
) -> dict[str, Any] | None:
    goal = content.goal
    points = [
        (x, y, record)
        for record in content.search
        if (x := _scaled(other.metric, record)) is not None
        and (y := _scaled(goal.metric, record)) is not None
    ]
    if not points:
        return None
    limit = [scale(other.metric) * other.limit] if other.limit is not None else []
    chart = Chart(
        f"{name_of(goal.metric)} over {name_of(other.metric)} of the searched architectures",
        span([*limit, *(x for x, _, _ in points)], 0.08),
        span([y for _, y, _ in points], 0.1),
        x_name=header(other.metric),
        y_name=f"validation {header(goal.metric)}",
    )
    if limit:
        chart.upright(limit[0], "limit")
    members = [record for record, _ in front if record is not None]
    legend = [("random", "searched"), ("winner", "on the front"), ("ring", "the winner")]
    if limit:
        legend.append(("limit", f"limit {other}"))
    for x, y, record in points:
        if not any(record is member for member in members):
            chart.dot(x, y, "dot random", _name(record, goal, other), 3.6)
    dots = [chart.at(x, y) for x, y, _ in points]
    labels: list[tuple[float, float]] = []
    for number, (member, _) in enumerate(front, 1):
        place = next(((x, y) for x, y, r in points if r is member), None)
        if place is None or member is None:
            continue
        if member is content.best:
            chart.dot(*place, "dot ring", "the winner", 8.0)
        chart.dot(*place, "dot winner", _name(member, goal, other), 4.6)
        _label(chart, dots, labels, chart.at(*place), str(number))
    title = f"{_capital(name_of(goal.metric))} over {name_of(other.metric)}"
    return {"title": title, "svg": chart.markup, "legend": legend, "note": ""}


def _label(
    chart: Chart, dots: Sequence[Point], labels: list[Point], place: Point, text: str
) -> None:
    """Puts a number beside its dot, where neither a dot nor another number stands."""
    for dx, dy in ((0, -15), (13, -9), (-13, -9), (0, 16), (13, 10), (-13, 10)):
        x, y = place[0] + dx, place[1] + dy
        inside = chart.left + 6 < x < chart.right and chart.top < y < chart.bottom - 6
        clear = all(abs(x - a) > 10 or abs(y - b) > 10 for a, b in dots)
        if inside and clear and all(abs(x - a) > 18 or abs(y - b) > 12 for a, b in labels):
            chart.note(x, y + 4, text)
            labels.append((x, y))
            return


def _name(record: Record, goal: Objective, other: Objective) -> str:
    shown = ", ".join(
        f"{name_of(o.metric)} {with_unit(o.metric, record.metrics[o.metric])}"
        for o in (goal, other)
    )
    return f"step {record.step}: {shown}"


Lines = Mapping[str, tuple[str, Sequence[tuple[float, float | None]]]]


def _lines(title: str, x_name: str, y_name: str, lines: Lines) -> dict[str, Any] | None:
    chart = _chart(title, x_name, y_name, [points for _, points in lines.values()])
    if chart is None:
        return None
    for cls, (name, points) in lines.items():
        chart.line(points, cls, name)
    legend = [(cls, name) for cls, (name, _) in lines.items()]
    return {"title": title, "svg": chart.markup, "legend": legend, "note": ""}


def _chart(
    title: str, x_name: str, y_name: str, lines: Iterable[Sequence[tuple[float, float | None]]]
) -> Chart | None:
    points = [(x, y) for line in lines for x, y in line if y is not None]
    if not points:
        return None
    steps = [x for x, _ in points]
    return Chart(
        title,
        span(steps, 0.02),
        span([y for _, y in points]),
        x_name=x_name,
        y_name=y_name,
        whole=True,
    )


def _number(value: Any) -> float | None:
    return float(value) if known(value) else None


def _scaled(metric: str, record: Record) -> float | None:
    value = _number(record.metrics.get(metric))
    return None if value is None else scale(metric) * value


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
