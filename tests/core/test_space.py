"""Spaces of choices that depend on each other: counts, draws, encodings, errors."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.core.space import Choice, SearchSpace
from nas_domains.core.space_text import load_space, parse_space
from nas_domains.testing.spaces import SpaceContract, assert_uniform
from tests.core.refusal import refused


def flat():
    return SearchSpace(
        "flat", [Choice("a", (1, 2, 3)), Choice("b", ("x", "y")), Choice("c", (0.5, 1.5))]
    )


class TestConditional(SpaceContract):
    """Chains, a child of two options, siblings, and a choice with a single option."""

    def make_space(self):
        return SearchSpace(
            "conditional",
            [
                Choice("block", ("conv", "pool", "none")),
                Choice("kernel", (3, 5), "block", ("conv",)),
                Choice("dilation", (1, 2), "kernel", (5,)),
                Choice("stride", (1, 2, 4), "block", ("conv", "pool")),
                Choice("only", ("one",)),
                Choice("depth", (1, 2)),
                Choice("second", ("conv", "pool"), "depth", (2,)),
            ],
            {"width": 3},
        )

    def other_space(self):
        return SearchSpace("conditional", self.make_space().choices, {"width": 4})


class TestSingle(SpaceContract):
    """One architecture in all."""

    def make_space(self):
        return SearchSpace("single", [Choice("a", (1,)), Choice("b", ("x",), "a", (1,))])


class TestLong(SpaceContract):
    """Too many architectures for 64 bits."""

    def make_space(self):
        return SearchSpace("long", [Choice(f"c{i}", tuple(range(7))) for i in range(40)])


def test_conditional_size_by_hand():
    # block: conv (kernel 3, or 5 with 2 dilations) x 3 strides, pool x 3 strides, none.
    # depth: 1, or 2 with 2 options.
    assert TestConditional().make_space().size() == ((1 + 2) * 3 + 3 + 1) * (1 + 2)


@st.composite
def forests(draw):
    """Up to 6 choices, each a root or the child of an earlier one."""
    choices = []
    for i in range(draw(st.integers(1, 6))):
        options = tuple(range(draw(st.integers(1, 3))))
        parent = draw(st.sampled_from([None, *choices]))
        if parent is None:
            choices.append(Choice(f"c{i}", options))
        else:
            when = draw(st.sets(st.sampled_from(parent.options), min_size=1))
            choices.append(Choice(f"c{i}", options, parent.name, tuple(sorted(when))))
    return SearchSpace("forest", choices)


def slow_architectures(space):
    """All of them, by trying every combination of every choice being absent or an option."""
    found = []
    for options in product(*([None, *c.options] for c in space.choices)):
        chosen = dict(zip([c.name for c in space.choices], options, strict=True))
        if all(
            (chosen[c.name] is not None) == (c.parent is None or chosen[c.parent] in c.when)
            for c in space.choices
        ):
            found.append({name: o for name, o in chosen.items() if o is not None})
    return found


@settings(max_examples=100, deadline=None, derandomize=True)
@given(forests())
def test_size_and_enumeration_are_exact_for_any_forest(space):
    expected = slow_architectures(space)
    assert space.size() == len(expected)
    enumerated = [dict(a) for a in space]
    assert sorted(map(repr, enumerated)) == sorted(map(repr, expected))
    codes = {space.encode(a).tobytes() for a in space}
    assert len(codes) == space.size()
    paths = {frozenset(space.paths(a)) for a in space}
    assert len(paths) == space.size(), "paths tell architectures apart before they are hashed"


@settings(max_examples=25, deadline=None, derandomize=True)
@given(forests())
def test_draws_are_uniform_for_any_forest(space):
    n = 20 * space.size()
    assert_uniform(Counter(space.sample(n, seed=0)), space.size())


@settings(max_examples=50, deadline=None, derandomize=True)
@given(forests(), st.integers(0, 99))
def test_neighbours_and_mutants_lie_in_any_forest(space, seed):
    everything = set(space)
    (architecture,) = space.sample(1, seed)
    neighbours = space.neighbours(architecture)
    assert set(neighbours) <= everything - {architecture}
    if neighbours:
        assert space.mutate(architecture, seed) in everything - {architecture}


def test_mutation_reaches_every_neighbour():
    space = flat()
    (architecture,) = space.sample(1)
    reached = {space.mutate(architecture, seed) for seed in range(200)}
    assert reached == set(space.neighbours(architecture))


def test_the_uniformity_check_can_fail():
    space = TestConditional().make_space()
    # The mistake that weighs no option: each choice by itself uniform, architectures not.
    rng = np.random.default_rng(0)
    drawn = Counter()
    for _ in range(20 * space.size()):
        done = {}
        for choice in space.choices:
            if choice.parent is None or done.get(choice.parent) in choice.when:
                done[choice.name] = choice.options[rng.integers(len(choice.options))]
        drawn[space.architecture(done)] += 1
    with pytest.raises(AssertionError, match="chi-square"):
        assert_uniform(drawn, space.size())


def test_an_option_reads_back_as_the_space_writes_it():
    space = SearchSpace("s", [Choice("a", (1, 2))])
    assert space.architecture({"a": 1.0}).to_json() == space.architecture({"a": 1}).to_json()


def test_an_architecture_is_a_frozen_mapping():
    space = TestConditional().make_space()
    (a,) = space.sample(1)
    assert dict(a) == dict(a.items()) and len(a) == len(dict(a))
    with pytest.raises(KeyError):
        a["no such choice"]
    with pytest.raises(AttributeError):
        a.fingerprint = "other"
    assert str(space.architecture({"block": "none", "only": "one", "depth": 1})) == (
        "block=none, only=one, depth=1"
    )


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ([], "'bad'"),
        ([Choice("a", (1,)), Choice("a", (2,))], "'a'"),
        ([Choice("a", ())], "'a'"),
        ([Choice("a", (1, 2, 1))], "'a'"),
        ([Choice("a", (1,), "b", (1,)), Choice("b", (1,))], "'b'"),
        ([Choice("a", (1,), "a", (1,))], "'a'"),
        ([Choice("b", (1,)), Choice("a", (1,), "b", ())], "'a'"),
        ([Choice("b", (1,)), Choice("a", (1,), "b", (2,))], "'b'"),
    ],
)
def test_bad_choices_are_refused(choices, named):
    with refused(named):
        SearchSpace("bad", choices)


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({}, "'block'"),
        ({"block": "none", "only": "one"}, "'depth'"),
        ({"block": "x", "only": "one", "depth": 1}, "'x'"),
        ({"block": "none", "only": "one", "depth": 1, "stride": 1}, "'stride'"),
        ({"block": "none", "only": "one", "depth": 1, "more": 1}, "'more'"),
        ({"block": "pool", "only": "one", "depth": 1}, "'stride'"),
    ],
)
def test_bad_architectures_are_refused(choices, named):
    with refused(named):
        TestConditional().make_space().architecture(choices)


def test_what_a_space_cannot_do_is_refused():
    space = flat()
    with refused("'flat'"):
        space.build(space.sample(1)[0], (3, 8, 8), 2)
    with refused("'flat'"):
        space.supernet((3, 8, 8), 2)
    with refused("'single'"):
        single = TestSingle().make_space()
        single.mutate(single.sample(1)[0], 0)


def test_parse_space():
    assert parse_space("darts") == ("darts", {})
    assert parse_space("s:a=1,b=2.5,c=x,d=true,e=1e3") == (
        "s",
        {"a": 1, "b": 2.5, "c": "x", "d": True, "e": 1000.0},
    )
    for bad in ("s:a", "s:=1", "s:a=", "s:a=1,a=2", "s:a b=1", "s:1=1"):
        with refused(repr(bad)):
            parse_space(bad)


def test_arguments_win_over_the_text():
    assert load_space("darts:cells=4,channels=8", cells=6).config["cells"] == 6
