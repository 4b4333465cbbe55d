"""Local search climbs, never asks for what is known, and starts again at a local optimum."""

import numpy as np
import optuna
import pytest

from nas_domains.core.architecture import Architecture
from nas_domains.core.errors import UsageError
from nas_domains.core.space import Choice, SearchSpace
from nas_domains.strategies.samplers.base import Observation, suggest
from nas_domains.strategies.samplers.local_search import LocalSearch
from nas_domains.testing.driven import driven
from nas_domains.vision.spaces import nasbench201
from tests.make import Widths

BITS = SearchSpace("bits", [Choice(f"b{i}", (0, 1)) for i in range(6)])
CELLS = nasbench201(cells=1, channels=2)


def ones(architecture: Architecture) -> float:
    return float(sum(map(float, architecture.values())))


def distance(one: Architecture, other: Architecture) -> int:
    return sum(one[name] != other[name] for name in one)


def test_it_proposes_neighbours_of_the_best_and_moves_at_once() -> None:
    found = driven(LocalSearch(BITS, seed=3, starts=4), 20, lambda a: (ones(a),))
    for number in range(4, 12):
        best = max(found[:number], key=lambda o: o.values[0])
        if best.values[0] == 6:
            break
        assert distance(found[number].architecture, best.architecture) == 1
    assert max(o.values[0] for o in found) == 6


def test_a_local_optimum_is_left_for_new_draws_and_nothing_comes_twice() -> None:
    # Six ones are the peak, and no ones a lower one that climbing alone never leaves.
    def two_peaks(a: Architecture) -> tuple[float]:
        return (10.0 if ones(a) == 6 else -ones(a),)

    found = driven(LocalSearch(BITS, seed=0, starts=1), 64, two_peaks)
    assert len({o.architecture for o in found}) == 64
    assert found[63].number == 63


def test_a_space_that_is_used_up_still_gets_proposals() -> None:
    found = driven(LocalSearch(BITS, seed=0, starts=2), 70, lambda a: (ones(a),))
    assert len({o.architecture for o in found[:64]}) == 64 and len(found) == 70


def test_several_objectives_walk_along_the_front() -> None:
    def values(a: Architecture) -> tuple[float, float]:
        return ones(a), -3 * float(a["b0"]) - float(a["b1"])

    found = driven(LocalSearch(BITS, seed=1, starts=2), 30, values)
    assert {(o.values) for o in found} >= {(6.0, -4.0)} or max(o.values[0] for o in found) == 6
    assert len({o.architecture for o in found}) == 30


def test_limits_are_kept() -> None:
    table = CELLS.cost_tables((1, 8, 8), 3)["params"]
    limit = CELLS.limit([f"params<={table.base + 40}"], (1, 8, 8), 3)
    sampler = LocalSearch(CELLS, seed=0, limit=limit, starts=3)
    found = driven(sampler, 25, lambda a: (table.cost(a),))
    assert all(limit.allows(o.architecture) for o in found)
    assert len({o.architecture for o in found}) == 25


def test_choices_that_depend_are_searched() -> None:
    space = Widths()
    found = driven(LocalSearch(space, seed=2, starts=2), 12, lambda a: (float(len(a)),))
    for observed in found:
        assert space.architecture(observed.architecture) == observed.architecture


def test_a_study_of_optuna_gets_the_same_proposals_as_a_history() -> None:
    study = optuna.create_study(direction="minimize", sampler=LocalSearch(BITS, seed=5))
    study.optimize(lambda trial: -ones(suggest(BITS, trial)), n_trials=30)
    plain = driven(LocalSearch(BITS, seed=5), 30, lambda a: (ones(a),))
    assert [dict(o.architecture) for o in plain] == [t.params for t in study.trials]


def test_no_start_is_refused() -> None:
    with pytest.raises(UsageError, match="starts=0"):
        LocalSearch(BITS, starts=0)


def test_a_proposal_depends_on_the_history_and_the_numbers_of_its_trial_alone() -> None:
    rng = np.random.default_rng
    history = driven(LocalSearch(BITS, seed=1), 20, lambda a: (ones(a),))
    one, other = (LocalSearch(BITS, seed=s) for s in (1, 2))
    assert one.propose(history, rng(7)) == other.propose(history, rng(7))
    assert isinstance(history[0], Observation)
