"""Numbers that say what a cell computes, whatever its choices are called."""

from collections.abc import Mapping

from .cell import Design, Edge
from .cell_space import CellSpace

FAR = 9.0
"""Length of the shortest path of a cell that has none."""


def cell_numbers(space: CellSpace, genotype: Mapping[str, Mapping[Edge, str]]) -> list[float]:
    """Of each kind of cell, as it works: edges on no path from input to output do not count.

    For each candidate its edges; then the most candidates with parameters on a path, the fewest
    that are not the identity, the number of paths, and whether one is the identity.

    Args:
        space: Of the cells.
        genotype: Kind of cell -> edge -> candidate.
    """
    return [n for edges in genotype.values() for n in _numbers(space, space.design, edges)]


def _numbers(space: CellSpace, design: Design, edges: Mapping[Edge, str]) -> list[float]:
    present = {edge: name for edge, name in sorted(edges.items()) if name != "none"}
    nodes = range(design.inputs, design.inputs + design.nodes)
    ends = set(nodes if design.concat else nodes[-1:])
    ahead = set(ends)
    for node in reversed(nodes):
        if node in ahead:
            ahead |= {i for i, j in present if j == node}
    # From each node back to an input: paths, most with parameters, fewest not the identity.
    paths = {i: (1.0, 0.0, 0.0) for i in range(design.inputs)}
    counts = dict.fromkeys(space.candidates, 0.0)
    for node in nodes:
        into = [(i, name) for (i, j), name in present.items() if j == node and i in paths]
        if into:
            paths[node] = (
                sum(paths[i][0] for i, _ in into),
                max(paths[i][1] + (name not in space.free) for i, name in into),
                min(paths[i][2] + (name != "skip_connect") for i, name in into),
            )
        if node in ahead:
            for _, name in into:
                counts[name] += 1.0
    found = [paths[end] for end in ends if end in paths]
    shortest = min((p[2] for p in found), default=FAR)
    return [
        *(n for name, n in counts.items() if name != "none"),
        max((p[1] for p in found), default=0.0),
        shortest,
        sum(p[0] for p in found),
        float(shortest == 0),
    ]
