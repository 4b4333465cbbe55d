"""How the architecture weights of a supernet moved: one small panel for each edge."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ..core.history import Record
from ..nn.cell import Edge
from ..nn.cell_space import CellSpace
from .content import Content
from .svg import Point, drawing, element, markup, path, tick_text

WIDTH, HEIGHT = 170.0, 84.0
LEFT, RIGHT, TOP, BOTTOM = 26.0, 6.0, 6.0, 14.0


def weight_panels(content: Content, colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """For each kind of cell its panels, and when its decoded edges last changed.

    Args:
        content: Of the run.
        colours: Candidate -> class of the style sheet.

    Returns:
        [{"kind", "panels": [{"edge", "candidate", "cls", "column", "row", "svg"}], "changed"}];
        empty where the search kept no weights or the space is not known here.
    """
    space = content.space
    records = [r for r in content.search if r.detail.get("weights")]
    if not records or not isinstance(space, CellSpace):
        return []
    decodes = [content.genotype(r.architecture or {}) or {} for r in records]
    groups = []
    for kind in space.kinds:
        history = [r.detail["weights"].get(kind) for r in records]
        if not all(_fits(weights, space) for weights in history):
            continue
        chosen = [decode.get(kind, {}) for decode in decodes]
        low = min(w for weights in history for edge in weights for w in edge)
        high = max(w for weights in history for edge in weights for w in edge)
        pad = max(0.04 * (high - low), 1e-4)
        changed = _last_change(records, chosen)
        panels = []
        for e, edge in enumerate(space.design.edges):
            kept = chosen[-1].get(edge)
            panels.append(
                {
                    "edge": f"{edge[0]} → {edge[1]}",
                    "candidate": kept or "",
                    "cls": colours.get(kept or "", ""),
                    "column": edge[0] + 1,
                    "row": edge[1] - space.design.inputs + 1,
                    "svg": _panel(
                        [r.step for r in records],
                        [weights[e] for weights in history],
                        list(space.candidates),
                        colours,
                        (max(0.0, low - pad), min(1.0, high + pad)),
                        kept,
                        changed,
                        f"{kind}, edge {edge[0]} to {edge[1]}",
                    ),
                }
            )
        columns = space.design.inputs + space.design.nodes - 1
        groups.append(
            {
                "kind": kind,
                "panels": panels,
                "changed": changed,
                "columns": columns,
                "last": records[-1].step,
            }
        )
    return groups


def _fits(weights: Any, space: CellSpace) -> bool:
    return (
        isinstance(weights, list)
        and len(weights) == len(space.design.edges)
        and all(len(w) == len(space.candidates) and None not in w for w in weights)
    )


def _last_change(records: Sequence[Record], chosen: Sequence[Mapping[Edge, str]]) -> int | None:
    """The epoch whose decode differs from the one before it, the last of them; None if none."""
    changes = [records[i].step for i in range(1, len(records)) if chosen[i] != chosen[i - 1]]
    return changes[-1] if changes else None


def _panel(
    steps: Sequence[int],
    weights: Sequence[Sequence[float]],
    candidates: Sequence[str],
    colours: Mapping[str, str],
    y_range: Point,
    kept: str | None,
    changed: int | None,
    name: str,
) -> Markup:
    low, high = y_range
    first, last = steps[0], max(steps[-1], steps[0] + 1)

    def at(step: float, weight: float) -> Point:
        return (
            LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (weight - low) / (high - low) * (HEIGHT - TOP - BOTTOM),
        )

    root = drawing(WIDTH, HEIGHT, f"Weights of {name}", "panel")
    floor = HEIGHT - BOTTOM
    element(root, "line", x1=LEFT, y1=floor, x2=WIDTH - RIGHT, y2=floor, cls="base")
    even = at(first, 1 / len(candidates))[1]
    if TOP <= even <= floor:
        element(root, "line", x1=LEFT, y1=even, x2=WIDTH - RIGHT, y2=even, cls="even")
    for value, y in ((high, TOP + 7), (low, floor)):
        text = tick_text(value, min(0.01, (high - low) / 2))
        element(root, "text", text.removeprefix("0"), x=LEFT - 4, y=y, text_anchor="end")
    for step, anchor in ((first, "start"), (last, "end")):
        element(root, "text", str(step), x=at(step, low)[0], y=HEIGHT - 3, text_anchor=anchor)
    if changed is not None:
        x = at(changed, low)[0]
        element(root, "line", x1=x, y1=TOP, x2=x, y2=floor, cls="changed")
    # The candidate that is kept is drawn last, over the others.
    for k, candidate in sorted(enumerate(candidates), key=lambda item: item[1] == kept):
        points = [at(step, w[k]) for step, w in zip(steps, weights, strict=True)]
        cls = f"line {colours[candidate]}{' kept' if candidate == kept else ''}"
        group = element(root, "g", cls=cls)
        element(group, "title", f"{candidate}: {weights[-1][k]:.4f} at the end")
        if len(points) > 1:
            element(group, "path", d=path(points))
        else:
            element(group, "circle", cx=points[0][0], cy=points[0][1], r=2.0)
    return markup(root)
