"""Limits of gradient strategies: rows, the table of latencies, and what is found under a limit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nas_domains
from nas_domains.core.budget import Budget
from nas_domains.core.errors import UsageError
from nas_domains.hardware.cost import count_macs, count_params
from nas_domains.nn.model_space import ModelSpace
from nas_domains.strategies import presets
from nas_domains.strategies.limits import MARGIN, limited
from nas_domains.strategies.parts.costs import CostRows
from nas_domains.testing.strategies import small_context
from nas_domains.vision.spaces import darts, nasbench201
from tests.make import one_sentence
from tests.nn.test_model_space import Net

SHAPE, OUTPUTS = (1, 8, 8), 3
SPACES = {
    "nasbench201": nasbench201(1, 4),
    "darts": darts(2, 4),
    "model": ModelSpace(Net),
}
COUNT = {
    "params": lambda network: count_params(network),
    "macs": lambda network: count_macs(network, SHAPE),
}


@pytest.mark.parametrize("metric", ["params", "macs"])
def test_the_found_network_follows_the_limit_in_a_sweep_of_five(
    tmp_path: Path, metric: str
) -> None:
    space = SPACES["nasbench201"]
    built = [space.build(a, SHAPE, OUTPUTS) for a in space.sample(200)]
    bounds = np.quantile([COUNT[metric](n) for n in built], [0.05, 0.25, 0.5, 0.75, 0.95])
    found = []
    for i, bound in enumerate(bounds):
        path = tmp_path / str(i)
        path.mkdir()
        context = small_context(
            path, space, objectives=("accuracy", f"{metric}<={float(bound)}")
        )
        strategy = presets.darts()
        strategy.search(context, strategy.plan(context, Budget.parse("steps=4")))
        winner = strategy.choose(context, context.history.of("search"))
        network = space.build(space.architecture(winner.architecture or {}), SHAPE, OUTPUTS)
        found.append(COUNT[metric](network))
        assert found[-1] == winner.metrics[metric] <= bound
    # Not only under it: a laxer one lets more in.
    assert found[0] < found[4]


@pytest.mark.parametrize("metric", ["params", "macs"])
@pytest.mark.parametrize("name", SPACES)
def test_rows_say_what_a_change_costs(name: str, metric: str) -> None:
    """From one architecture to a neighbour, where no choice comes or goes."""
    space: Any = SPACES[name]
    rows = CostRows.of(space, metric, SHAPE, OUTPUTS)
    checked = 0
    for architecture in space.sample(4, 1):
        for other in space.neighbours(architecture)[::3]:
            if set(other) != set(architecture) or (name == "model" and metric == "macs"):
                continue
            a, b = (COUNT[metric](space.build(s, SHAPE, OUTPUTS)) for s in (architecture, other))
            x, y = (space.evidence(s, rows.rows) for s in (architecture, other))
            assert y - x == pytest.approx(b - a)
            checked += 1
    assert checked or (name, metric) == ("model", "macs")


def test_rows_of_a_model_without_a_table_are_differences() -> None:
    space: Any = SPACES["model"]
    rows, first = CostRows.of(space, "macs", SHAPE, OUTPUTS), space.complete({}, None)
    for name in first:
        for option in space._by_name[name].options:
            other = space.complete(dict(first) | {name: option}, None)
            if set(other) == set(first):
                a, b = (count_macs(space.build(s, SHAPE, OUTPUTS), SHAPE) for s in (first, other))
                assert space.evidence(other, rows.rows) - space.evidence(
                    first, rows.rows
                ) == pytest.approx(b - a)


@pytest.mark.parametrize("metric", ["params", "macs"])
def test_a_model_of_ones_own_keeps_a_limit(tmp_path: Path, metric: str) -> None:
    space: Any = SPACES["model"]
    costs = [COUNT[metric](space.build(a, SHAPE, OUTPUTS)) for a in space.sample(20)]
    bound = sorted(costs)[4]
    context = small_context(tmp_path, space, objectives=("accuracy", f"{metric}<={bound}"))
    strategy = presets.gdas()
    strategy.check(space, context.objectives)
    strategy.search(context, strategy.plan(context, Budget.parse("steps=4")))
    for record in context.history.of("search"):
        network = space.build(space.architecture(record.architecture or {}), SHAPE, OUTPUTS)
        assert COUNT[metric](network) <= bound


def test_a_limit_on_latency_is_one_on_a_table_that_stays(tmp_path: Path) -> None:
    space = SPACES["darts"]
    free = small_context(tmp_path, space, objectives=("accuracy", "latency_ms<=1e6"))
    limit, rows = limited(free)
    assert limit is not None and set(rows) == {"latency_ms"}
    path = free.checkpoints / "latency_table.json"
    before = path.read_bytes()
    costs = [limit.tables["latency_ms"].cost(a) for a in space.sample(100)]
    # A mean of the rows under uniform weights is about that of uniform draws.
    names = list(space.candidates)  # type: ignore[attr-defined]
    weights = torch.tensor([float(n != "none") for n in names]) / (len(names) - 1)
    uniform = {kind: weights.expand(14, -1) for kind in ("normal", "reduce")}
    mean = float(rows["latency_ms"].expected(uniform))
    assert mean == pytest.approx(np.mean(costs), abs=3 * np.std(costs) / 10 + 1e-3)
    bound = float(np.quantile(costs, 0.2))
    bounded = small_context(
        tmp_path, space, objectives=("accuracy", f"latency_ms<={bound / MARGIN}")
    )
    again, _ = limited(bounded)
    assert path.read_bytes() == before, "a table that is there is not measured again"
    assert again is not None
    kept = [again.allows(a) for a in space.sample(100)]
    assert kept == [c <= bound for c in costs]
    strategy = presets.darts()
    strategy.check(space, bounded.objectives)
    strategy.search(bounded, {"steps": 2})
    for record in bounded.history.of("search"):
        assert again.allows(space.architecture(record.architecture or {}))
        assert record.metrics["latency_ms"] is not None, "what is found is measured again"


OTHER = {"base_ms": 1, "edges_ms": {"normal": {"0->2": {"none": 0}}}}


@pytest.mark.parametrize("text", ["{", "[]", '{"base_ms": 1}', json.dumps(OTHER)])
def test_a_broken_table_is_one_sentence(tmp_path: Path, text: str) -> None:
    context = small_context(
        tmp_path, SPACES["darts"], objectives=("accuracy", "latency_ms<=1e6")
    )
    context.checkpoints.mkdir(parents=True)
    (context.checkpoints / "latency_table.json").write_text(text)
    with pytest.raises(UsageError) as error:
        limited(context)
    one_sentence(str(error.value), "latency_table.json")


def test_a_space_without_rows_is_refused() -> None:
    class Bare(nas_domains.SearchSpace):
        has_supernet = mixes = True

    space = Bare("bare", [nas_domains.core.space.Choice("a", (1, 2))])
    from nas_domains.core.objective import parse_objectives

    with pytest.raises(UsageError) as error:
        presets.darts().check(space, parse_objectives(("accuracy", "params<=5"), ["accuracy"]))
    one_sentence(str(error.value), "darts", "params<=5")
