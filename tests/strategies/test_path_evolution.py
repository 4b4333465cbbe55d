"""Generations depend on a seed and a place, keep limits, and come from the best."""

from pathlib import Path

import pytest

from nas_domains.core.history import Record
from nas_domains.evaluation.context import Context
from nas_domains.strategies.blackbox import counted_limit
from nas_domains.strategies.path_evolution import Evolution, best
from tests.make import Widths, make_context

SMALL = Evolution(population=10, parents=3)


def _records(context: Context, evolution: Evolution, generations: int) -> list[Record]:
    """Generations scored by how many convolutions a cell has."""
    records: list[Record] = []
    for _ in range(generations):
        for architecture in evolution.propose(context, records):
            accuracy = sum(str(o).startswith("nor_conv") for o in architecture.values()) / 6
            metrics = {"accuracy": accuracy, "loss": 1.0, "params": 100 * accuracy}
            records.append(
                Record("search", len(records) + 1, dict(architecture), {}, metrics, 1.0)
            )
    return records


def test_generations_repeat_are_new_and_improve(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    records = _records(context, SMALL, 5)
    assert records == _records(context, SMALL, 5)
    other = make_context(tmp_path, seed=1)
    assert records != _records(other, SMALL, 5)
    assert len({str(r.architecture) for r in records}) == len(records) == 50

    def mean(some: list[Record]) -> float:
        return sum(r.metrics["accuracy"] or 0 for r in some) / len(some)

    assert mean(records[-10:]) > mean(records[:10]) + 0.2


def test_children_come_from_the_parents(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    first = _records(context, SMALL, 1)
    parents = best(context, first, 3)
    options = {name: {p.architecture[name] for p in parents} for name in parents[0].architecture}
    crossed = Evolution(population=6, parents=3, mutated=0.0).propose(context, first)
    inherited = [all(c[n] in options[n] for n in c) for c in crossed]
    assert inherited[0] and sum(inherited) >= 3
    mutants = Evolution(population=6, parents=3, mutated=1.0, mutation=0.0).propose(context, first)
    for mutant in mutants:
        changes = [sum(mutant[n] != p.architecture[n] for n in mutant) for p in parents]
        assert min(changes) == 1


def test_every_generation_keeps_a_limit(tmp_path: Path) -> None:
    table = make_context(tmp_path).space.cost_tables((1, 8, 8), 3)["params"]
    context = make_context(tmp_path, objectives=("accuracy", f"params<={table.base + 200}"))
    limit = counted_limit(context)
    for record in _records(context, SMALL, 3):
        assert limit.allows(context.space.architecture(record.architecture))


def test_a_space_that_is_used_up_gives_what_it_has(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths())
    records = _records(context, SMALL, 3)
    assert len(records) == 30
    assert len({str(r.architecture) for r in records}) == context.space.size()


def _scored(context: Context, points: list[tuple[float, float]]) -> list[Record]:
    architectures = context.space.sample(60, seed=4)
    distinct = list(dict.fromkeys(architectures))[: len(points)]
    return [
        Record("search", i + 1, dict(a), {}, {"accuracy": p, "params": q, "loss": 1.0}, 1.0)
        for i, (a, (p, q)) in enumerate(zip(distinct, points, strict=True))
    ]


def test_several_goals_select_by_front_then_by_crowding(tmp_path: Path) -> None:
    context = make_context(tmp_path, objectives=("accuracy", "params"))
    front = [(0.9, 90.0), (0.8, 80.0), (0.79, 79.0), (0.1, 10.0)]
    records = _scored(context, [(0.5, 95.0), *front, (0.05, 20.0)])
    chosen = [r.step for r in best(context, records, 4)]
    assert sorted(chosen) == [2, 3, 4, 5]
    assert set(best_steps := [r.step for r in best(context, records, 2)]) == {2, 5}, best_steps
    # (0.8, 80) lies between points that are further apart than those beside (0.79, 79).
    third = best(context, records, 3)[2].step
    gaps = {3: (0.9 - 0.79) / 0.8 + (90 - 79) / 80, 4: (0.8 - 0.1) / 0.8 + (80 - 10) / 80}
    assert third == max(gaps, key=lambda step: gaps[step])
    assert len(best(context, records, 99)) == 6


def test_what_breaks_a_limit_comes_last(tmp_path: Path) -> None:
    context = make_context(tmp_path, objectives=("accuracy", "params<=50"))
    records = _scored(context, [(0.9, 60.0), (0.2, 40.0), (0.4, 50.0)])
    assert [r.step for r in best(context, records, 3)] == [3, 2, 1]


@pytest.mark.parametrize("number", [1, 2])
def test_the_same_architecture_counts_once(tmp_path: Path, number: int) -> None:
    context = make_context(tmp_path)
    records = _scored(context, [(0.9, 1.0), (0.2, 1.0)])
    again = Record("search", 3, records[0].architecture, {}, records[0].metrics, 1.0)
    assert len(best(context, [*records, again], number)) == number
