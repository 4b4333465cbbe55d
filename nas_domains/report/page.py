"""Fills the template of the report."""

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..core.objective import COST_METRICS
from ..core.run import Run
from ..nn.cell_space import CellSpace
from . import curves, reproduce, words
from .cases import case_section
from .cell import draw_cell
from .content import Content, Row
from .explained import explained
from .growth import growth
from .headline import headline
from .heads import heads_panel
from .operators import operators_panel
from .palette import colours
from .weights import weight_panels
from .words import COUNTS, datum, header, known


def render(run: Run) -> str:
    """The report of a run as HTML."""
    content = Content(run)
    environment = Environment(
        loader=PackageLoader("nas_domains.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    candidates = list(content.space.candidates) if isinstance(content.space, CellSpace) else []
    palette = colours(candidates)
    name = content.path.resolve().name
    return environment.get_template("template.html").render(
        title=f"{name}: {content.config.get('task_name') or 'a task made in Python'}",
        finished=content.finished,
        headline=headline(content),
        table=comparison(content),
        scores=curves.test_scores(content),
        cases=case_section(content),
        scores_scope=_scope(content),
        cells=_cells(content, palette),
        choices=_choices(content),
        heads=heads_panel(content),
        operators=operators_panel(content),
        arch_str=content.result.get("best", {}).get("arch_str"),
        best=content.best,
        search=curves.search_curves(content),
        explained=explained(content),
        training=curves.training_curves(content),
        weights=weight_panels(content, palette),
        legend=[(palette[name], name) for name in candidates],
        none_weighs="none" in candidates
        and not any("none" in choice.options for choice in getattr(content.space, "choices", ())),
        pareto=curves.pareto(content) + growth(content),
        measured=_measured(content),
        front=_front(content),
        spent=reproduce.spent(content),
        machine=reproduce.machine(content),
        command=reproduce.command(content),
        run_name=name,
        version=content.environment.get("nas_domains", ""),
    )


def comparison(content: Content) -> dict[str, Any] | None:
    """The table of all networks on the test split, or None where none is tested yet."""
    rows = [row for row in content.rows if row.metrics]
    if not rows:
        return None
    goal = content.goal.metric
    names = [goal, *(m for m in content.task_metrics if m != goal), "loss"]
    metrics = [m for m in dict.fromkeys(names) if m in rows[0].metrics and m not in COST_METRICS]
    costs = [m for m in COST_METRICS if m in rows[0].metrics]
    sizes = {m: words.size_of(r.metrics.get(m) for r in rows) for m in costs if m in COUNTS}
    found = [_line(content, row, metrics, costs, sizes) for row in rows]
    baseline = content.result.get("random_baseline")
    if baseline:
        last = max(i for i, row in enumerate(rows) if row.kind == "random")
        first = _spread(goal, baseline.get("mean"), baseline.get("std"))
        blanks = [Markup("")] * (len(metrics) + len(costs) + 2)
        found.insert(
            last + 1,
            {"name": f"mean of {baseline['n']} random", "kind": "mean", "cells": [first, *blanks]},
        )
    seeds = max((len(row.tests) for row in rows), default=1)
    heads = [header(m) for m in metrics]
    heads.append(f"validation {header(goal)}")
    heads += [header(m, sizes.get(m, "")) for m in costs]
    heads += [header(m) for m in ("epochs", "seconds")]
    return {
        "heads": heads,
        "rows": found,
        "seeds": seeds,
        "n": (baseline or {}).get("n"),
        "goal": words.name_of(goal),
        "latency": "latency_ms" in costs,
    }


def _line(
    content: Content, row: Row, metrics: list[str], costs: list[str], sizes: Mapping[str, str]
) -> dict[str, Any]:
    goal = content.goal.metric
    cells = [_spread(m, row.metrics.get(m), row.spread(m) if m == goal else None) for m in metrics]
    cells.append(datum(goal, row.validation(goal)))
    cells += [datum(m, row.metrics.get(m), sizes.get(m, "")) for m in costs]
    cells += [datum("epochs", row.epochs), datum("seconds", row.seconds)]
    return {"name": row.label, "kind": row.kind, "cells": cells}


def _spread(metric: str, value: Any, spread: Any) -> Markup:
    shown = datum(metric, value)
    if not known(spread) or not known(value):
        return shown
    return Markup("{}<span class='spread'> ± {}</span>").format(shown, datum(metric, spread))


def _scope(content: Content) -> str:
    baseline = content.result.get("random_baseline")
    seeds = max((len(row.tests) for row in content.rows), default=0)
    own = "A dot is one training" + (", a short line the mean of a row. " if seeds > 1 else ". ")
    if not baseline:
        return own
    shown = "line and band" if known(baseline.get("std")) else "line"
    spread = " ± one standard deviation" if known(baseline.get("std")) else ""
    group = words.several(baseline["n"], "random architecture")
    return f"{own}Grey {shown}: mean of {group}{spread}."


def _cells(content: Content, palette: Mapping[str, str]) -> list[dict[str, Any]]:
    """A drawing for each kind of cell, or nothing where the space is not one of cells."""
    if content.architecture is None or not isinstance(content.space, CellSpace):
        return []
    genotype = content.genotype(content.architecture) or {}
    return [
        {"kind": kind, "svg": draw_cell(content.space.design, edges, palette, f"{kind} cell")}
        for kind, edges in genotype.items()
    ]


def _choices(content: Content) -> dict[str, Any] | None:
    if content.architecture is None:
        return None
    return {
        "rows": list(content.architecture.items()),
        "json": json.dumps(dict(content.architecture)),
    }


def _front(content: Content) -> dict[str, Any] | None:
    """The members of the Pareto front, numbered as in the chart."""
    if len(content.objectives) < 2 or not content.result.get("pareto"):
        return None
    members = curves.front_records(content)
    knee = _knee(content)
    metrics = [o.metric for o in content.objectives]
    shown = list(dict.fromkeys([*metrics, *(m for m in COST_METRICS if m in members[0][1])]))
    sizes = {m: words.size_of(found.get(m) for _, found in members) for m in COUNTS}
    return {
        "heads": [header(m, sizes.get(m, "")) for m in shown],
        "rows": [
            {
                "number": number,
                "step": None if record is None else record.step,
                "winner": record is not None and record is content.best,
                "knee": found == knee,
                "cells": [datum(m, found.get(m), sizes.get(m, "")) for m in shown],
            }
            for number, (record, found) in enumerate(members, 1)
        ],
    }


def _knee(content: Content) -> Mapping[str, Any] | None:
    """The metrics of the front's knee point."""
    number = (content.result.get("front") or {}).get("knee")
    metrics: Mapping[str, Any] | None = None
    if number is not None:
        metrics = content.result["pareto"][number]["metrics"]
    return metrics


def _measured(content: Content) -> list[tuple[str, str]]:
    """How each measured cost of the table was measured."""
    found = content.result.get("measured") or {}
    return [(words.name_of(metric), text) for metric, text in found.items()]
