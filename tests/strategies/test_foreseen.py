"""Limits on measured costs that a search foresees."""

import math
from pathlib import Path

import numpy as np
import optuna
import pytest

import nas_domains as nd
from nas_domains.core.architecture import Architecture
from nas_domains.core.history import Record
from nas_domains.core.objective import Objective
from nas_domains.core.space import SearchSpace
from nas_domains.strategies import presets
from nas_domains.strategies.blackbox import counted_limit
from nas_domains.strategies.foreseen import (
    OFTEN,
    SELDOM,
    STARTS,
    Foreseen,
    ForeseenLimit,
    foreseen_limit,
)
from nas_domains.strategies.samplers.base import suggest
from nas_domains.strategies.samplers.bayes import Bayes
from nas_domains.testing.samplers import flat_space
from tests.make import Widths, make_context


def latency(architecture: Architecture) -> float:
    """Milliseconds: a product, as where a resolution changes what all layers cost."""
    choices = list(architecture.values())
    slow = [0.3 * hash_of(str(name) + str(option)) for name, option in architecture.items()]
    return 4.0 * math.exp(sum(slow)) * (1 + 0.5 * hash_of(str(choices[0])))


def hash_of(text: str) -> float:
    """A number from 0 to 1 that belongs to a text."""
    return (sum(ord(c) * 31**i for i, c in enumerate(text)) % 1009) / 1009


def measured(space: SearchSpace, architectures: list[Architecture]) -> list[Record]:
    return [
        Record(f"trial/{i}/costs", 0, dict(a), {}, {"latency_ms": latency(a)}, 0.1)
        for i, a in enumerate(architectures)
    ]


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return flat_space()


def bound(space: SearchSpace, share: float) -> float:
    return float(np.quantile([latency(a) for a in space.sample(2000, seed=9)], share))


def test_before_anything_is_measured_all_is_allowed(space: SearchSpace) -> None:
    objective = Objective("latency_ms", "min", 1e-9)
    records = measured(space, space.sample(STARTS - 1, seed=0))
    limit = ForeseenLimit(space, None, [objective], lambda: records)
    rng = np.random.default_rng(0)
    unseen = [a for a in limit.sample(20, rng) if all(r.architecture != dict(a) for r in records)]
    assert all(map(limit.allows, unseen)) and "latency_ms<=" in str(limit)
    # What was measured is known.
    assert not limit.allows(space.architecture(records[0].architecture or {}))


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_draws_find_what_seldom_keeps_a_limit(space: SearchSpace, share: float) -> None:
    objective = Objective("latency_ms", "min", bound(space, share))
    records = measured(space, space.sample(STARTS, seed=1))
    limit = ForeseenLimit(space, None, [objective], lambda: records)
    rng, kept, late = np.random.default_rng(2), 0, 0
    for i in range(60):
        (architecture,) = limit.sample(1, rng)
        records += [Record(f"trial/{len(records)}/costs", 0, dict(architecture), {},
                           {"latency_ms": latency(architecture)}, 0.1)]  # fmt: skip
        kept += objective.allows(records[-1].metrics)
        late += i >= 30 and objective.allows(records[-1].metrics)
    assert kept > 4 * 60 * share and late > 30 * 0.3
    assert limit.version == len(records)


def test_mutants_keep_it_and_nothing_is_out_of_reach(space: SearchSpace) -> None:
    objective = Objective("latency_ms", "min", bound(space, 0.1))
    records = measured(space, space.sample(80, seed=3))
    limit = ForeseenLimit(space, None, [objective], lambda: records)
    rng = np.random.default_rng(0)
    parents = limit.sample(10, rng)
    mutants = [limit.mutate(parent, rng) for parent in parents]
    assert sum(latency(m) <= 1.1 * objective.limit for m in mutants) >= 8
    # None keeps the least of limits: the fastest that is thought of is taken.
    hard = ForeseenLimit(space, None, [Objective("latency_ms", "min", 1e-9)], lambda: records)
    usual = float(np.median([latency(a) for a in space.sample(200, seed=4)]))
    drawn = hard.sample(5, rng)
    assert len(drawn) == 5 and max(map(latency, drawn)) < usual
    assert hard.mutate(drawn[0], rng) != drawn[0]


def test_counted_limits_hold_as_ever(tmp_path: Path) -> None:
    context = make_context(
        tmp_path, Widths(), objectives=("accuracy", "params<=900", "latency_ms<=1e9")
    )
    counted = counted_limit(context)
    limit = foreseen_limit(context, counted)
    assert isinstance(limit, ForeseenLimit) and counted is not None
    rng = np.random.default_rng(0)
    for found in limit.sample(10, rng):
        assert counted.allows(found) and limit.allows(found)
    broken = [a for a in context.space if not counted.allows(a)]
    assert broken and not any(map(limit.allows, broken))
    free = make_context(tmp_path / "b", Widths(), objectives=("accuracy", "params<=900"))
    assert foreseen_limit(free, counted) is counted


def test_a_search_learns_from_what_it_refused(space: SearchSpace) -> None:
    """Bayes under a limit that one in fifty keeps: its proposals soon keep it."""
    objective = Objective("latency_ms", "min", bound(space, 0.02))
    records: list[Record] = []
    limit = ForeseenLimit(space, None, [objective], lambda: records)
    study = optuna.create_study(direction="maximize", sampler=Bayes(space, seed=0, limit=limit))
    kept = []
    for _ in range(80):
        trial = study.ask()
        architecture = suggest(space, trial)
        records += measured(space, [architecture])
        kept.append(objective.allows(records[-1].metrics))
        if kept[-1]:
            study.tell(trial, latency(architecture))
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    # By chance it would be less than one.
    assert sum(kept[40:]) >= 6


def test_lengths_do_not_depend_on_when_a_search_was_resumed(space: SearchSpace) -> None:
    architectures = space.sample(OFTEN + SELDOM // 2, seed=3)
    values = [latency(a) for a in architectures]
    objective = Objective("latency_ms", "min", bound(space, 0.3))
    whole, resumed = Foreseen(space, objective), Foreseen(space, objective)
    for n in range(OFTEN - 1, len(values) + 1):
        whole.learn(architectures[:n], values[:n])
    resumed.learn(architectures, values)
    asked = space.sample(20, seed=4)
    assert np.array_equal(whole.beyond(asked), resumed.beyond(asked))


def test_random_search_foresees_nothing() -> None:
    assert not presets.random().foresees and presets.bayes().foresees


def test_a_run_with_a_measured_limit_resumes_as_it_was(tmp_path: Path) -> None:
    asked = {
        "strategy": "local-search", "objectives": ["accuracy", "latency_ms<=1e4"],
        "budget": "trials=14,epochs=1", "train_budget": "epochs=1", "randoms": 1, "quiet": True,
    }  # fmt: skip
    run = nd.search("nasbench201:cells=1,channels=4", "digits", out=tmp_path / "a", **asked)
    assert run.result["best"]["metrics"]["latency_ms"] < 1e4
    again = nd.resume(tmp_path / "a", quiet=True)
    assert again.result["best"]["architecture"] == run.result["best"]["architecture"]
