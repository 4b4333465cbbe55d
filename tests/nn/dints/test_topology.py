"""Topologies: order, pruning and decode against MONAI's, and by brute force."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.nn.dints.topology import Topology
from tests.nn.dints.make import monai, space


def connected(topology, active):
    """Whether each block reads just what the block before gives."""
    reads = [{p.source for p, on in zip(topology.paths, row, strict=True) if on} for row in active]
    gives = [{p.target for p, on in zip(topology.paths, row, strict=True) if on} for row in active]
    return all(reads) and all(a == b for a, b in zip(gives, reads[1:], strict=False))


@pytest.mark.parametrize("depths", [1, 2, 3, 4])
def test_paths_and_sets_are_in_the_order_of_monai(depths):
    pytest.importorskip("monai")
    theirs = monai(space(blocks=1, depths=depths, channels=2)).dints_space
    topology = Topology(1, depths)
    assert [p.source for p in topology.paths] == theirs.arch_code2in
    assert [p.target for p in topology.paths] == theirs.arch_code2out
    assert [p.rate for p in topology.paths] == theirs.arch_code2ops
    assert np.array_equal(topology.sets, theirs.child_list)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(1, 4))
def test_pruning_leaves_the_largest_connected_topology(data, blocks, depths):
    topology = Topology(blocks, depths)
    flags = st.lists(st.booleans(), min_size=len(topology.paths), max_size=len(topology.paths))
    active = np.array([data.draw(flags) for _ in range(blocks)])
    before = active.copy()
    found = topology.pruned(active)
    assert np.array_equal(active, before)
    assert not (found & ~active).any()
    assert not found.any() or connected(topology, found)
    # A way through all blocks is kept whole.
    for way in itertools.product(range(depths), repeat=blocks + 1):
        ends = [(p.source, p.target) for p in topology.paths]
        steps = list(zip(way[:-1], way[1:], strict=True))
        if all(s in ends and active[b, ends.index(s)] for b, s in enumerate(steps)):
            assert all(found[b, ends.index(s)] for b, s in enumerate(steps))
            break
    else:
        assert not found.any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_decode_is_the_most_probable_connected_topology(seed):
    topology = Topology(2, 2)
    on = torch.rand(2, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    probabilities = topology.probabilities(on)
    assert probabilities.sum(1) == pytest.approx([1, 1])
    costs = -np.log(probabilities.numpy() + 1e-5)
    best = min(
        (costs[0, i] + costs[1, j], i, j)
        for i, j in itertools.product(range(15), repeat=2)
        if connected(topology, topology.sets[[i, j]])
    )
    assert np.array_equal(topology.decode(on), topology.sets[list(best[1:])])


def test_no_probability_is_too_extreme_to_learn_from():
    topology = Topology(3, 2)
    on = torch.tensor([[0.0, 1.0, 1.0, 0.5]] * 3, dtype=torch.float64, requires_grad=True)
    topology.entropy(topology.probabilities(on)).backward()
    assert on.grad.isfinite().all() and on.grad.any()
