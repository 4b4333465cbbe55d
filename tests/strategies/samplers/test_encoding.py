"""Cells that compute the same are one point; numbers say what a cell is like."""

import numpy as np
import pytest

from nas_domains.core.space import Choice, SearchSpace
from nas_domains.nn.cell_numbers import FAR, cell_numbers
from nas_domains.strategies.samplers.encoding import Encoder, Points
from nas_domains.vision.spaces import darts, nasbench201

CELLS = nasbench201(cells=1, channels=2)
CONV, SKIP, NONE = "nor_conv_3x3", "skip_connect", "none"


def cell(text: str) -> dict[str, str]:
    """Candidates of 0->1, 0->2, 1->2, 0->3, 1->3, 2->3."""
    edges = ("0->1", "0->2", "1->2", "0->3", "1->3", "2->3")
    return dict(zip(edges, text.split(), strict=True))


# none, skip, 1x1, 3x3, pool without none; depth, shortest, paths, identity.
@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (f"{CONV} {NONE} {NONE} {SKIP} {CONV} {NONE}", [1, 0, 2, 0, 2, 0, 2, 1]),
        (f"{CONV} {CONV} {CONV} {CONV} {CONV} {CONV}", [0, 0, 6, 0, 3, 1, 4, 0]),
        # The edge to node 1 leads nowhere, and that from node 2 comes from nowhere.
        (f"{CONV} {NONE} {NONE} avg_pool_3x3 {NONE} {CONV}", [0, 0, 0, 1, 0, 1, 1, 0]),
        (" ".join([NONE] * 6), [0, 0, 0, 0, 0, FAR, 0, 0]),
    ],
)
def test_numbers_of_cells(text: str, numbers: list[float]) -> None:
    genotype = CELLS.genotype(CELLS.architecture(cell(text)))
    assert cell_numbers(CELLS, genotype) == numbers


def test_edges_on_no_path_do_not_tell_cells_apart() -> None:
    one, same, other = (
        CELLS.architecture(cell(text))
        for text in (
            f"{CONV} {NONE} {NONE} {SKIP} {NONE} {NONE}",
            f"{NONE} {NONE} {NONE} {SKIP} {NONE} {CONV}",
            f"{CONV} {NONE} {NONE} {SKIP} {SKIP} {NONE}",
        )
    )
    for group in Encoder(CELLS)([one, same, other]):
        assert (group[0] == group[1]).all() and (group[0] != group[2]).any()


@pytest.mark.parametrize(
    "space", [CELLS, darts(cells=2, channels=2), SearchSpace("one", [Choice("a", (1,))])]
)
def test_features_are_scaled_alike_and_finite(space: SearchSpace) -> None:
    for group in Encoder(space)(space.sample(300, seed=1)):
        assert np.isfinite(group).all() and group.dtype == np.float32
        mean = 2 * group.var(0).sum()
        assert space.size() == 1 or 0.35 < mean < 0.65


def test_points_are_all_architectures_once() -> None:
    space = SearchSpace("few", [Choice("a", (1, 2, 3)), Choice("b", (1, 2), "a", (2, 3))])
    points = Points(space)
    assert len(points.architectures) == len(points.point) == space.size() == 5
    for group, encoded in zip(points.features, points(points.architectures), strict=True):
        assert (group[points.point] == encoded).all()
