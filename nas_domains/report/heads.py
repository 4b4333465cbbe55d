"""Which heads of each layer a part of an encoder keeps, and how wide its layers are."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ..core.history import PREPARE
from .content import Content
from .svg import box, drawing, element, markup

SIDE, GAP, LEFT, TOP, BAR = 22.0, 3.0, 70.0, 24.0, 160.0
LEAST = 0.25
"""Opacity of a head that does not matter at all, where one that matters most has 1."""

_NAME = re.compile(r"layer(\d+)\.(heads|width)$")


def heads_panel(content: Content) -> Markup | None:
    """A square for each head by layer, shaded by its importance; None in other spaces.

    Args:
        content: Of the run.
    """
    architecture, space = content.architecture, content.space
    if architecture is None or space is None:
        return None
    options = {c.name: c.options for c in space.choices}
    features = options.pop("hidden", ())
    if not options or not all(map(_NAME.match, options)):
        return None
    layers = sorted({int(_NAME.sub(r"\1", name)) for name in options})
    most = {
        kind: max(int(options[f"layer{i}.{kind}"][-1]) for i in layers)
        for kind in ("heads", "width")
    }
    order = next((r for r in content.records if r.stage == f"{PREPARE}order"), None)
    scores = order.detail.get("importance", {}) if order is not None else {}
    width = LEFT + most["heads"] * (SIDE + GAP) + 20 + BAR + 60
    height = TOP + len(layers) * (SIDE + GAP) + (24 if features else 6)
    root = drawing(width, height, _said(architecture, layers), "heads")
    bars = LEFT + most["heads"] * (SIDE + GAP) + 20
    element(root, "text", "heads, the most important first", x=LEFT, y=14)
    element(root, "text", "feed-forward width", x=bars, y=14)
    if features:
        text = f"{architecture['hidden']:,} of {max(features):,} features between the layers"
        element(root, "text", text, x=4, y=height - 6)
    top = max((max(s) for s in scores.values() if s), default=0.0)
    for row, i in enumerate(layers):
        y = TOP + row * (SIDE + GAP)
        element(root, "text", f"layer {i}", x=4, y=y + 15)
        kept, inside = int(architecture[f"layer{i}.heads"]), int(architecture[f"layer{i}.width"])
        _squares(root, y, kept, most["heads"], scores.get(f"layer{i}", []), top)
        share = inside / most["width"]
        box(root, bars, y, BAR, SIDE, "none-1", 0.15, "")
        if inside:
            box(root, bars, y, BAR * share, SIDE, "conv-3", 0.9, "")
        element(root, "text", f"{inside:,}", x=bars + BAR + 8, y=y + 15)
    return markup(root)


def _squares(
    root: Any, y: float, kept: int, most: int, scores: Sequence[float], top: float
) -> None:
    for head in range(most):
        known = head < len(scores) and top > 0
        shade = LEAST + (1 - LEAST) * scores[head] / top if known else 1.0
        said = f"importance {scores[head]:.2g}" if known else ""
        cls = "conv-1" if head < kept else "none-1"
        x = LEFT + head * (SIDE + GAP)
        box(root, x, y, SIDE, SIDE, cls, shade if head < kept else 0.15, said)



def _said(architecture: Mapping[str, Any], layers: Sequence[int]) -> str:
    heads = ", ".join(str(architecture[f"layer{i}.heads"]) for i in layers)
    widths = ", ".join(str(architecture[f"layer{i}.width"]) for i in layers)
    said = f"Heads kept in each layer: {heads}; feed-forward widths: {widths}"
    if "hidden" in architecture:
        said += f"; features between them: {architecture['hidden']}"
    return f"{said}."
