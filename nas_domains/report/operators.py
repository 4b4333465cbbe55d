"""Which operator each head of each layer has, and how wide the feed-forward blocks are."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ..core.space import SearchSpace
from .content import Content
from .palette import colours
from .svg import box, drawing, element, markup

WIDE, HIGH, GAP, LEFT, TOP, BAR = 58.0, 24.0, 3.0, 64.0, 24.0, 120.0
LEAST, MOST = 0.09, 0.6
"""Opacity of an operator of no weight, and of one that has all of it: words stand on it."""

_HEAD, _FEED = re.compile(r"(.*layer\d+)\.head(\d+)$"), re.compile(r"(.*layer\d+)\.feed$")


def operators_panel(content: Content) -> Markup | None:
    """A box for each head by layer, coloured by its operator; None in other spaces.

    Where a gradient search says how much weight the operator has among those of its head, the box
    is the darker the more.

    Args:
        content: Of the run.
    """
    architecture, space = content.architecture, content.space
    if architecture is None or space is None:
        return None
    options = {c.name: [str(o) for o in c.options] for c in space.choices}
    heads = {name: found.groups() for name in options if (found := _HEAD.match(name))}
    if not heads or not all(name in heads or _FEED.match(name) for name in options):
        return None
    layers = list(dict.fromkeys(str(layer) for layer, _ in heads.values()))
    columns = max(int(number) for _, number in heads.values())
    names = list(dict.fromkeys(o for name in heads for o in options[name]))
    palette, weights = colours(names), _weights(content, space)
    bars = LEFT + columns * (WIDE + GAP) + 20
    width = bars + BAR + 60
    height = TOP + len(layers) * (HIGH + GAP) + 30
    said = "; ".join(f"{name} {option}" for name, option in architecture.items())
    root = drawing(width, height, f"Operators of heads: {said}.", "operators")
    element(root, "text", "heads", x=LEFT, y=14)
    element(root, "text", "feed-forward width", x=bars, y=14)
    for row, layer in enumerate(layers):
        y = TOP + row * (HIGH + GAP)
        element(root, "text", layer.replace("layer", "layer "), x=4, y=y + 16)
        for name, (own, number) in heads.items():
            if own == layer:
                x = LEFT + (int(number) - 1) * (WIDE + GAP)
                operator = str(architecture[name])
                share = weights.get(name, {}).get(operator)
                shade = 0.5 if share is None else LEAST + (MOST - LEAST) * share
                told = "" if share is None else f", weight {share:.2f}"
                box(root, x, y, WIDE, HIGH, palette[operator], shade, f"{name}: {operator}{told}")
                element(
                    root, "text", operator, x=x + WIDE / 2, y=y + 16, text_anchor="middle"
                )
        feed = f"{layer}.feed"
        if feed in options:
            most = max(int(option) for option in options[feed])
            share = int(architecture[feed]) / most
            box(root, bars, y, BAR, HIGH, "none-1", LEAST, "")
            box(root, bars, y, BAR * share, HIGH, "conv-3", MOST, f"{feed}: {architecture[feed]}")
            element(root, "text", f"{architecture[feed]}", x=bars + BAR + 8, y=y + 16)
    _counts(root, architecture, list(heads), names, height - 8)
    return markup(root)


def _weights(content: Content, space: SearchSpace) -> dict[str, dict[str, float]]:
    """Choice -> option -> its weight in the record that won, where that has weights."""
    found = content.best.detail.get("weights") if content.best is not None else None
    kinds: Mapping[str, Sequence[str]] | None = getattr(space, "kinds", None)
    if not found or kinds is None:
        return {}
    options = {c.name: [str(o) for o in c.options] for c in space.choices}
    return {
        name: dict(zip(options[name], row, strict=True))
        for kind, names in kinds.items()
        for name, row in zip(names, found.get(kind, ()), strict=False)
    }


def _counts(
    root: Any,
    architecture: Mapping[str, Any],
    heads: Sequence[str],
    names: Sequence[str],
    y: float,
) -> None:
    """A line that says how many heads have each operator."""
    chosen = [str(architecture[name]) for name in heads]
    text = ", ".join(f"{name} {chosen.count(name)}" for name in names if name in chosen)
    element(root, "text", f"{len(chosen)} heads: {text}", x=LEFT, y=y)
