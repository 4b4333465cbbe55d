"""A cell drawn as a graph: layers from left to right, a labelled pill on each edge.

Every layer has one column of pills, directly left of its nodes, and every pill and every line that
passes by has a slot of its own there. So labels cannot overlap, and no line runs through a node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from ..nn.cell import Design, Edge
from .svg import Element, drawing, element, markup

SLOT, PASS, GAP = 30.0, 14.0, 16.0
"""Height of a pill's slot, of a line that passes by, and the room between groups."""
BEND, JOIN, RADIUS, MARGIN = 62.0, 30.0, 14.0, 14.0
"""Width of a layer's curves, of the joint from pills to node, the nodes' size, the border."""
PILL_HEIGHT, LETTER = 22.0, 6.7


@dataclass
class _Group:
    """What stands together in a layer: a node with its pills, or one line that passes by."""

    state: int
    sources: list[int]
    candidates: list[str] = field(default_factory=list)
    passes: bool = False
    y: float = 0.0
    slots: list[float] = field(default_factory=list)

    @property
    def height(self) -> float:
        return PASS if self.passes else max(1, len(self.candidates)) * SLOT


def draw_cell(
    design: Design, edges: Mapping[Edge, str], colours: Mapping[str, str], name: str
) -> Markup:
    """Draws one kind of cell.

    Args:
        design: The cell's shape.
        edges: Its edges with their candidates.
        colours: Candidate -> class of the style sheet.
        name: Kind of cell, for those who cannot see the drawing.
    """
    layers = _layers(design, edges)
    places = _place(layers)
    longest = max((len(c) for c in edges.values()), default=4)
    pill = longest * LETTER + 18
    step = BEND + pill + JOIN + 2 * RADIUS
    height = max(g.y + g.height / 2 for layer in layers for g in layer) + MARGIN
    first = 64.0
    width = first + len(layers[1:-1]) * step + BEND + 66
    root = drawing(width, height, f"{name}: {_words(edges)}", "cell")
    lines, shapes = element(root, "g"), element(root, "g")

    def layer_x(depth: int) -> float:
        return first + (depth - 1) * step

    tails: dict[int, list[tuple[float, float]]] = {}
    for state in range(design.inputs):
        y = places[0, state].y
        _node(shapes, first - 34, y, str(state), _input_name(design, state))
        tails[state] = [(first - 34 + RADIUS, y)]
    for depth, layer in enumerate(layers[1:-1], 1):
        left = layer_x(depth) + BEND
        node_x = left + pill + JOIN + RADIUS
        ends: dict[int, list[tuple[float, float]]] = {}
        for group in layer:
            if group.passes:
                _curve(lines, tails[group.state][-1], (left, group.y), "pass")
                _curve(lines, (left, group.y), (node_x + RADIUS, group.y), "pass")
                ends[group.state] = [(node_x + RADIUS, group.y)]
                continue
            for source, candidate, y in zip(
                group.sources, group.candidates, group.slots, strict=True
            ):
                cls = colours.get(candidate, "other-1")
                faded = " faded" if cls.startswith("none") else ""
                _curve(lines, tails[source][-1], (left, y), f"edge {cls}{faded}")
                _curve(lines, (left + pill, y), (node_x - RADIUS, group.y), f"edge {cls}{faded}")
                _pill(shapes, left, y, pill, candidate, f"{cls}{faded}", (source, group.state))
            _node(shapes, node_x, group.y, str(group.state), "")
            ends[group.state] = [(node_x + RADIUS, group.y)]
        tails |= ends
    (output,) = layers[-1]
    out_x = width - 50
    for source in output.sources:
        _curve(lines, tails[source][-1], (out_x - RADIUS, output.y), "pass")
    _node(shapes, out_x, output.y, "", "output")
    element(
        shapes,
        "text",
        "cat" if design.concat else "out",
        x=out_x,
        y=output.y + 4,
        text_anchor="middle",
        cls="number",
    )
    return markup(root)


def _layers(design: Design, edges: Mapping[Edge, str]) -> list[list[_Group]]:
    """Nodes by their depth, with a group for each line that passes a layer on its way."""
    nodes = range(design.inputs, design.inputs + design.nodes)
    into = {n: sorted(i for i, j in edges if j == n) for n in nodes}
    depth = {state: 0 for state in range(design.inputs)}
    for node in nodes:
        depth[node] = 1 + max((depth[i] for i in into[node]), default=0)
    joined = list(nodes) if design.concat else [nodes[-1]]
    end = 1 + max(depth[n] for n in joined)
    layers: list[list[_Group]] = [[] for _ in range(end + 1)]
    layers[0] = [_Group(state, []) for state in range(design.inputs)]
    for node in nodes:
        if depth[node] < end:
            candidates = [edges[i, node] for i in into[node]]
            layers[depth[node]].append(_Group(node, into[node], candidates))
    layers[end] = [_Group(-1, joined)]
    for state in depth:
        ends = [depth[j] for i, j in edges if i == state]
        last = max(ends + [end] * (state in joined), default=0)
        for between in range(depth[state] + 1, last):
            layers[between].append(_Group(state, [state], passes=True))
    return layers


def _place(layers: Sequence[list[_Group]]) -> dict[tuple[int, int], _Group]:
    """Orders each layer by where its sources stand, and centres all layers on one line."""
    at: dict[int, float] = {}
    places: dict[tuple[int, int], _Group] = {}
    for depth, layer in enumerate(layers):
        if depth:
            layer.sort(key=lambda g: (_middle([at[s] for s in g.sources]), g.state))
        y = 0.0
        gap = 3 * GAP if depth == 0 else GAP
        for group in layer:
            group.y = y + group.height / 2
            y += group.height + gap
        for group in layer:
            group.y -= (y - gap) / 2
        at |= {group.state: group.y for group in layer}
        places |= {(depth, group.state): group for group in layer}
    shift = MARGIN - min(g.y - g.height / 2 for g in places.values())
    at = {}
    for layer in layers:
        for group in layer:
            group.y += shift
            heights = [at.get(source, 0.0) for source in group.sources]
            order = sorted(range(len(group.candidates)), key=heights.__getitem__)
            top = group.y - group.height / 2 + SLOT / 2
            group.slots = [top + SLOT * order.index(i) for i in range(len(group.candidates))]
        at |= {group.state: group.y for group in layer}
    return places


def _middle(heights: Sequence[float]) -> float:
    return sum(heights) / max(1, len(heights))


def _curve(
    parent: Element, start: tuple[float, float], end: tuple[float, float], cls: str
) -> None:
    (x1, y1), (x2, y2) = start, end
    middle = (x1 + x2) / 2
    d = f"M{x1:.1f},{y1:.1f}C{middle:.1f},{y1:.1f} {middle:.1f},{y2:.1f} {x2:.1f},{y2:.1f}"
    element(parent, "path", d=d, cls=cls)


def _pill(
    parent: Element, x: float, y: float, width: float, label: str, cls: str, edge: Edge
) -> None:
    group = element(parent, "g", cls=f"pill {cls}")
    element(group, "title", f"{edge[0]} to {edge[1]}: {label}")
    half = PILL_HEIGHT / 2
    element(group, "rect", x=x, y=y - half, width=width, height=PILL_HEIGHT, rx=half)
    element(group, "text", label, x=x + width / 2, y=y + 4, text_anchor="middle")


def _node(parent: Element, x: float, y: float, number: str, caption: str) -> None:
    group = element(parent, "g", cls="node")
    element(group, "circle", cx=x, cy=y, r=RADIUS)
    if number:
        element(group, "text", number, x=x, y=y + 4, text_anchor="middle", cls="number")
    if caption:
        element(
            group, "text", caption, x=x, y=y + RADIUS + 14, text_anchor="middle", cls="caption"
        )


def _input_name(design: Design, state: int) -> str:
    back = design.inputs - state
    return "last cell" if back == 1 else "cell before" if back == 2 else f"{back} cells before"


def _words(edges: Mapping[Edge, str]) -> str:
    return ", ".join(f"{i} to {j} {candidate}" for (i, j), candidate in sorted(edges.items()))
