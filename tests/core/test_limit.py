"""Draws and mutants under limits: exact, on spaces of choices with hand-written tables."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.core import registry
from nas_domains.core.limit import CostTable, Limit, bands_of
from nas_domains.core.objective import Objective
from nas_domains.core.space import Choice, SearchSpace
from nas_domains.ops import path_sampler
from nas_domains.testing.spaces import assert_uniform
from tests.core.refusal import refused

needs_compiled = pytest.mark.skipif(
    path_sampler.compiled() is None, reason="PathSampler needs the compiled module"
)
INFINITY = math.inf


@st.composite
def limited(draw):
    """A space with two cost tables, of which some columns depend on another choice."""
    choices, options, given_ = [], [{}, {}], [{}, {}]
    for i in range(draw(st.integers(1, 5))):
        own = tuple(f"o{j}" for j in range(draw(st.integers(1, 3))))
        parent = draw(st.sampled_from([None, *choices]))
        plain = [c for c in choices if c.name not in given_[0] and c.name not in given_[1]]
        if parent is not None and parent not in plain:
            parent = None
        if parent is None:
            choice = Choice(f"c{i}", own)
        else:
            when = draw(st.sets(st.sampled_from(parent.options), min_size=1))
            choice = Choice(f"c{i}", own, parent.name, tuple(sorted(when)))
        column = st.fixed_dictionaries({o: st.integers(0, 9) for o in own})
        for table in range(2):
            others = [parent] if parent else [c for c in plain if c.parent is None][:1]
            if others and draw(st.booleans()):
                other = others[0]
                given_[table][choice.name] = other.name, {o: draw(column) for o in other.options}
            elif draw(st.booleans()):
                options[table][choice.name] = draw(column)
        choices.append(choice)
    space = SearchSpace("limited", choices)
    base = draw(st.integers(0, 5))
    tables = {
        f"m{t}": CostTable(base, options[t], given_[t], exact=draw(st.booleans()))
        for t in range(2)
    }
    return space, tables


def costs_of(tables, architecture):
    """The true costs: those of tables that are lower bounds are one more on some architectures."""
    return {
        metric: table.cost(architecture) + (not table.exact and len(str(architecture)) % 2)
        for metric, table in tables.items()
    }


@settings(max_examples=100, deadline=None, derandomize=True)
@given(made=limited(), data=st.data())
def test_draws_are_uniform_among_what_keeps_the_limit(made, data):
    space, tables = made
    costs = {a: costs_of(tables, a) for a in space}
    values = [sorted({c[m] for c in costs.values()}) for m in tables]
    (low0, high0), (low1, high1) = (
        sorted(data.draw(st.sampled_from(v)) for _ in range(2)) for v in values
    )
    bands = {
        "m0": (low0, high0),
        "m1": data.draw(st.sampled_from([(-INFINITY, high1), (low1, INFINITY)])),
    }
    keep = {a for a, c in costs.items() if all(b[0] <= c[m] <= b[1] for m, b in bands.items())}
    limit = Limit(space, bands, tables, lambda a: costs_of(tables, a))
    assert {a for a in space if limit.allows(a)} == keep
    if not keep:
        with refused("m0"):
            space.sample(1, 0, limit)
        return
    drawn = space.sample(20 * len(keep), 1, limit)
    assert set(drawn) <= keep
    assert_uniform(Counter(drawn), len(keep))
    assert space.sample(0, 1, limit) == []
    assert space.sample(5, 3, limit) == space.sample(5, 3, limit)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(made=limited(), data=st.data())
def test_mutants_keep_the_limit(made, data):
    space, tables = made
    costs = {a: costs_of(tables, a) for a in space}
    start = data.draw(st.sampled_from(sorted(costs, key=str)))
    bands = {"m0": (-INFINITY, costs[start]["m0"]), "m1": (costs[start]["m1"], INFINITY)}
    limit = Limit(space, bands, tables, lambda a: costs_of(tables, a))
    mutants = {space.mutate(start, seed) for seed in range(300)} if len(costs) > 1 else set()
    keep = {m for m in mutants if limit.allows(m)}
    if not keep:
        with refused("'limited'"):
            space.mutate(start, 0, limit)
        return
    found = {space.mutate(start, seed, limit) for seed in range(200)}
    assert all(limit.allows(m) for m in found) and keep <= found | {start}


def test_rare_mutants_have_the_probabilities_of_those_drawn_until_one_fits():
    """A hundred tries rarely find one here, and the exhaustive way must not prefer any."""
    names = [f"c{i}" for i in range(40)]
    space = SearchSpace("rare", [Choice(n, tuple(range(30))) for n in names])
    # One more option of three choices is as cheap as the first one.
    cheap = {names[3]: (0, 5), names[4]: (0, 7), names[30]: (0, 29)}
    table = CostTable(
        0, {n: {o: float(o not in cheap.get(n, (0,))) for o in range(30)} for n in names}
    )
    start = space.architecture(dict.fromkeys(names, 0))
    limit = Limit(space, {"m": (-INFINITY, 0)}, {"m": table})
    drawn = Counter(space.mutate(start, seed, limit) for seed in range(60))
    assert len(drawn) == 3
    assert_uniform(drawn, 3)


@needs_compiled
def test_a_limit_that_one_in_millions_keeps():
    choices = [Choice(f"c{i}", tuple(range(8))) for i in range(20)]
    space = SearchSpace("wide", choices)
    table = CostTable(
        100, {c.name: {o: o * (i + 1.5) for o in c.options} for i, c in enumerate(choices)}
    )
    limit = Limit(space, {"m": (-INFINITY, 260)}, {"m": table})
    drawn = space.sample(2000, 4, limit)
    assert max(map(table.cost, drawn)) <= 260 and len(set(drawn)) > 1900
    with refused("the cheapest has m=100"):
        space.sample(1, 0, Limit(space, {"m": (-INFINITY, 99)}, {"m": table}))


def test_without_the_compiled_module_draws_are_rejected_until_one_fits(monkeypatch):
    monkeypatch.setattr(path_sampler, "compiled", lambda: None)
    assert registry.actions.load("path-sampler")() is None
    space = SearchSpace("s", [Choice(f"c{i}", (0, 1, 2)) for i in range(4)])
    table = CostTable(0, {f"c{i}": {0: 0, 1: 1, 2: 2} for i in range(4)})
    limit = Limit(space, {"m": (2, 3)}, {"m": table})
    keep = [a for a in space if limit.allows(a)]
    assert_uniform(Counter(space.sample(20 * len(keep), 0, limit)), len(keep))
    assert limit.allows(space.mutate(keep[0], 1, limit))
    with refused("raise the limit"):
        space.sample(1, 0, Limit(space, {"m": (9, 10)}, {"m": table}))


def test_bands_are_read_from_texts_objectives_and_mappings():
    known = ("params", "macs")
    assert bands_of(["params<=1e6"], known) == {"params": (-INFINITY, 1e6)}
    assert bands_of([Objective("macs", "min", 5.0)], known) == {"macs": (-INFINITY, 5.0)}
    assert bands_of({"params": (1, 2)}, known) == {"params": (1.0, 2.0)}
    for bad, named in (
        (["params"], "'params'"),
        (["latency_ms<=5"], "'latency_ms'"),
        ({"dice": (0, 1)}, "'dice'"),
        ({"params": (2, 1)}, "'params'"),
    ):
        with refused(named):
            bands_of(bad, known)


def test_what_has_no_table_is_refused_or_asked_of_networks():
    space = SearchSpace("s", [Choice("a", (1, 2))])
    with refused("'params'"):
        Limit(space, {"params": (0, 1)}, {})
    with refused("'s'"):
        space.sample(1, 0, space.limit(["params<=5"], (3, 8, 8), 2))
    assert str(space.limit({"params": (0, 5)}, (3, 8, 8), 2)) == "0<=params<=5"
    limit = space.limit(["params<=5"], (3, 8, 8), 2)
    assert limit is space.limit([Objective("params", "min", 5.0)], (3, 8, 8), 2)


def test_tables_that_depend_in_a_chain_are_refused():
    space = SearchSpace("s", [Choice("a", (1, 2)), Choice("b", (1, 2)), Choice("c", (1, 2))])
    columns = {1: {1: 0, 2: 1}, 2: {1: 1, 2: 0}}
    table = CostTable(0, {}, {"b": ("a", columns), "c": ("b", columns)})
    with refused("'b'"):
        space.sample(1, 0, Limit(space, {"m": (0, 1)}, {"m": table}))
