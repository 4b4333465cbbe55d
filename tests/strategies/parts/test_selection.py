"""Selection: under limits, and by what the supernet misses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.core.errors import UsageError
from nas_domains.strategies.parts.costs import CostRows
from nas_domains.strategies.parts.selection import decode_within, keep_most_needed
from nas_domains.vision.spaces import darts, nasbench201

SHAPE, OUTPUTS = (1, 8, 8), 3
CELLS, DARTS = nasbench201(1, 4), darts(2, 4)
ROWS = {
    space.name: {m: CostRows.of(space, m, SHAPE, OUTPUTS) for m in ("params", "macs")}
    for space in (CELLS, DARTS)
}


def _strengths(space, seed: int):
    generator = torch.Generator().manual_seed(seed)
    shape = (len(space.design.edges), len(space.candidates))
    return {
        kind: torch.softmax(torch.randn(shape, generator=generator), 1) for kind in space.kinds
    }


def _score(space, strengths, architecture) -> float:
    names, edges = list(space.candidates), list(space.design.edges)
    return sum(
        float(strengths[kind][edges.index(edge), names.index(name)].log())
        for kind, own in space.genotype(architecture).items()
        for edge, name in own.items()
    )


@pytest.mark.parametrize("space", [CELLS, DARTS], ids=lambda s: s.name)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 0.95))
def test_a_decode_keeps_any_limit_that_can_be_kept(space, seed, share) -> None:
    tables = space.cost_tables(SHAPE, OUTPUTS)
    costs = sorted(tables["params"].cost(a) for a in space.sample(50, seed))
    bound = costs[int(share * len(costs))]
    limit = space.limit([f"params<={bound}"], SHAPE, OUTPUTS)
    found = decode_within(
        space, _strengths(space, seed), limit, {"params": ROWS[space.name]["params"]}
    )
    assert limit.allows(found)
    assert tables["params"].cost(found) <= bound


def test_a_limit_that_holds_already_changes_nothing() -> None:
    strengths = _strengths(CELLS, 0)
    limit = CELLS.limit(["params<=1e9"], SHAPE, OUTPUTS)
    rows = {"params": ROWS["nasbench201"]["params"]}
    assert decode_within(CELLS, strengths, limit, rows) == CELLS.decode(strengths)


def test_it_is_near_the_best_of_all_architectures() -> None:
    table = CELLS.cost_tables(SHAPE, OUTPUTS)["params"]
    everything = [(a, table.cost(a)) for a in CELLS]
    rng = np.random.default_rng(0)
    exact = 0
    for seed in range(6):
        strengths = _strengths(CELLS, seed)
        bound = float(np.quantile([c for _, c in everything], rng.uniform(0.1, 0.6)))
        limit = CELLS.limit([f"params<={bound}"], SHAPE, OUTPUTS)
        found = decode_within(CELLS, strengths, limit, {"params": ROWS["nasbench201"]["params"]})
        best = max(_score(CELLS, strengths, a) for a, c in everything if c <= bound)
        # Prices reach the convex hull, single changes most of what lies between: never half a
        # candidate's strength away.
        assert _score(CELLS, strengths, found) >= best - np.log(2)
        exact += _score(CELLS, strengths, found) >= best - 1e-4
    assert exact >= 3


def test_a_limit_that_nothing_keeps_is_one_sentence() -> None:
    limit = CELLS.limit(["params<=1"], SHAPE, OUTPUTS)
    with pytest.raises(UsageError, match="params<=1"):
        rows = {"params": ROWS["nasbench201"]["params"]}
        decode_within(CELLS, _strengths(CELLS, 0), limit, rows)


def test_the_candidate_that_is_missed_most_stays_alone() -> None:
    torch.manual_seed(0)
    supernet = CELLS.supernet(SHAPE, OUTPUTS)
    asked: list[list[bool]] = []

    def score() -> tuple[float]:
        dropped = supernet.dropped["cell"][2].tolist()
        asked.append(dropped)
        # Candidate 3 is missed most: without it the score is lowest.
        return (0.1 if dropped[3] else 0.9,)

    assert keep_most_needed(supernet, "cell", 2, score) == 3
    assert len(asked) == 5 and all(sum(row) == 1 for row in asked)
    assert supernet.dropped["cell"][2].tolist() == [True, True, True, False, True]
    assert not supernet.dropped["cell"][[0, 1, 3, 4, 5]].any()
    assert keep_most_needed(supernet, "cell", 2, score) == 3, "one candidate needs no comparison"
    assert len(asked) == 5
    supernet(torch.randn(4, *SHAPE)).sum().backward()
    edge = "-".join(map(str, CELLS.design.edges[2]))
    trained = {
        name.split(".")[5]
        for name, parameter in supernet.body.named_parameters()
        if f".{edge}." in name and parameter.grad is not None
    }
    assert trained == {"nor_conv_3x3"}
