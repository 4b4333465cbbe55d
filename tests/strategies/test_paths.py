"""Paths depend on a seed and their number, are fair where they should be, and keep limits."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.core.architecture import Architecture
from nas_domains.core.errors import UsageError
from nas_domains.core.space import Choice, SearchSpace
from nas_domains.strategies.paths import extremes, fair_paths, uniform_paths
from nas_domains.testing.spaces import assert_uniform
from nas_domains.vision.spaces import darts, nasbench201
from tests.make import Widths

CELLS = nasbench201(cells=1, channels=2)
SPACES = [CELLS, darts(cells=2, channels=2), Widths()]
SHAPE, OUTPUTS = (1, 8, 8), 3
each_space = pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)


@each_space
def test_paths_are_architectures_and_repeat_by_number(space: SearchSpace) -> None:
    whole = uniform_paths(space, 6, seed=3, first=2)
    pieces = [p for i in range(2, 8) for p in uniform_paths(space, 1, seed=3, first=i)]
    assert whole == pieces
    assert fair_paths(space, seed=3, step=4) == fair_paths(space, seed=3, step=4)
    for path in (*whole, *fair_paths(space, seed=3, step=4)):
        assert space.architecture(path) == path
    assert whole != uniform_paths(space, 6, seed=4, first=2)


def test_paths_of_a_space_whose_choices_depend_are_uniform() -> None:
    space = Widths()
    paths = uniform_paths(space, 1800, seed=1, first=0)
    assert_uniform(Counter(map(str, paths)), space.size())


@settings(max_examples=20)
@given(st.integers(0, 2**63 - 1), st.integers(0, 10**6))
def test_a_fair_step_has_each_option_once(seed: int, step: int) -> None:
    paths = fair_paths(CELLS, seed=seed, step=step)
    for choice in CELLS.choices:
        assert sorted(map(str, (p[choice.name] for p in paths))) == sorted(choice.options)


def test_choices_of_fewer_options_are_fair_over_steps() -> None:
    space = SearchSpace("uneven", [Choice("two", ("a", "b")), Choice("three", (1, 2, 3))])
    paths = [p for step in range(2) for p in fair_paths(space, seed=0, step=step)]
    assert Counter(p["two"] for p in paths) == {"a": 3, "b": 3}
    assert Counter(p["three"] for p in paths) == {1: 2, 2: 2, 3: 2}


def test_paths_keep_a_limit() -> None:
    table = CELLS.cost_tables(SHAPE, OUTPUTS)["params"]
    limit = CELLS.limit([f"params<={table.base + 30}"], SHAPE, OUTPUTS)
    paths = uniform_paths(CELLS, 20, seed=0, first=0, limit=limit)
    assert all(map(limit.allows, paths)) and len(set(paths)) > 5
    pieces = [uniform_paths(CELLS, 1, seed=0, first=i, limit=limit)[0] for i in range(20)]
    assert paths == pieces
    for end in extremes(CELLS, SHAPE, OUTPUTS, seed=0, limit=limit):
        assert limit.allows(end)
    impossible = CELLS.limit([f"params<={table.base - 1}"], SHAPE, OUTPUTS)
    with pytest.raises(UsageError, match="params"):
        uniform_paths(CELLS, 1, seed=0, first=0, limit=impossible)


@each_space
def test_extremes_are_the_largest_and_the_smallest_of_a_draw(space: SearchSpace) -> None:
    largest, smallest = extremes(space, SHAPE, OUTPUTS, seed=0)
    assert (largest, smallest) == extremes(space, SHAPE, OUTPUTS, seed=0)

    def params(architecture: Architecture) -> int:
        return sum(p.numel() for p in space.build(architecture, SHAPE, OUTPUTS).parameters())

    sizes = sorted(params(a) for a in space.sample(30, seed=9))
    assert params(largest) >= sizes[-3] and params(smallest) <= sizes[2]


class Named(Widths):
    """Says itself what is largest and smallest."""

    def largest(self) -> Architecture:
        return self.architecture({"depth": 2, "first": 16, "second": 8})

    def smallest(self) -> Architecture:
        return self.architecture({"depth": 1, "first": 4})


def test_a_space_may_say_what_its_extremes_are() -> None:
    space = Named()
    assert extremes(space, SHAPE, OUTPUTS, seed=0) == (space.largest(), space.smallest())
    # Its largest breaks this limit, so both are drawn.
    limit = space.limit(["params<=600"], SHAPE, OUTPUTS)
    largest, _ = extremes(space, SHAPE, OUTPUTS, seed=0, limit=limit)
    assert limit.allows(largest) and not limit.allows(space.largest())
