"""Repair keeps limits and as much of an architecture as chance allows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.core.limit import Limit
from nas_domains.strategies.samplers.repair import repair
from nas_domains.testing.samplers import conditional_space, flat_space, weight


@given(seed=st.integers(0, 10**6), high=st.integers(0, 8), conditional=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_repaired_keeps_the_limit(seed: int, high: int, conditional: bool) -> None:
    space = conditional_space() if conditional else flat_space()
    table = weight(space)
    limit = Limit(space, {"weight": (-np.inf, high)}, {"weight": table})
    architecture = space.sample(1, seed)[0]
    found = repair(space, architecture, np.random.default_rng(seed), limit)
    assert space.architecture(dict(found)) == found and table.cost(found) <= high
    if table.cost(architecture) <= high:
        assert found == architecture


@pytest.mark.parametrize("over", [1, 3])
def test_little_is_changed_where_little_is_over(over: int) -> None:
    space = flat_space(20, 2)
    limit = Limit(space, {"weight": (-np.inf, 20 - over)}, {"weight": weight(space)})
    largest = space.architecture({c.name: 1 for c in space.choices})
    for seed in range(10):
        found = repair(space, largest, np.random.default_rng(seed), limit)
        assert sum(found[n] != 1 for n in found) == over
