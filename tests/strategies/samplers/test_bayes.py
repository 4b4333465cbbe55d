"""Bayesian optimisation finds what the space hides, keeps limits, and weighs several goals."""

import time

import numpy as np
import optuna
import pytest

from nas_domains.core.architecture import Architecture
from nas_domains.core.errors import UsageError
from nas_domains.core.objective import pareto
from nas_domains.core.space import Choice, SearchSpace
from nas_domains.evaluation.table import TableEvaluator
from nas_domains.strategies.samplers.base import suggest
from nas_domains.strategies.samplers.bayes import Bayes
from nas_domains.testing.driven import driven
from nas_domains.vision.spaces import darts, nasbench201
from tests.conftest import SHARED, needs_shared
from tests.make import Widths

BITS = SearchSpace("bits", [Choice(f"b{i}", (0, 1)) for i in range(10)])
CELLS = nasbench201(cells=1, channels=2)
HIDDEN = (1, 0, 0, 1, 1, 0, 1, 0, 0, 1)


def agreement(architecture: Architecture) -> float:
    return float(sum(a == b for a, b in zip(architecture.values(), HIDDEN, strict=True)))


def test_it_finds_a_hidden_architecture_in_few_trials() -> None:
    for seed in range(3):
        found = driven(Bayes(BITS, seed=seed), 40, lambda a: (agreement(a),))
        assert max(o.values[0] for o in found) == 10
        assert len({o.architecture for o in found}) == 40


@needs_shared
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_it_finds_the_best_cell_of_nasbench201(dataset: str) -> None:
    table = TableEvaluator(CELLS, SHARED / "data/nasbench201/table.npz", dataset)
    truth = table.columns["test_acc_200ep"]
    best = float(truth.max())
    # Of 100 seeds the slowest takes 44.
    found = driven(
        Bayes(CELLS, seed=0),
        60,
        lambda a: (float(truth[table.row(a)]),),
        lambda o: o.values[0] >= best,
    )
    assert found[-1].values[0] == best


def test_the_size_of_values_does_not_matter() -> None:
    plain = driven(Bayes(BITS, seed=4), 25, lambda a: (agreement(a),))
    cubed = driven(Bayes(BITS, seed=4), 25, lambda a: (agreement(a) ** 3 - 1e4,))
    assert [o.architecture for o in plain] == [o.architecture for o in cubed]


def test_a_used_up_space_still_gets_proposals() -> None:
    space = SearchSpace("few", [Choice("a", (1, 2)), Choice("b", ("x", "y"))])
    found = driven(Bayes(space, starts=2), 7, lambda a: (float(a["a"]),))
    assert len({o.architecture for o in found[:4]}) == 4 and len(found) == 7


def test_equal_values_are_no_trouble() -> None:
    found = driven(Bayes(BITS, starts=2), 8, lambda a: (0.5,))
    assert len({o.architecture for o in found}) == 8


def test_two_objectives_reach_more_of_the_front_than_chance() -> None:
    def values(a: Architecture) -> tuple[float, float]:
        used = sum(map(float, a.values()))
        return agreement(a), -used

    whole = [values(a) for a in BITS]
    front = {whole[i] for i in pareto(whole)}
    found = driven(Bayes(BITS, seed=0), 40, values)
    reached = {o.values for o in found} & front
    chance = [values(a) for a in BITS.sample(40, seed=0)]
    assert len(reached) > len(set(chance) & front)
    assert len({o.architecture for o in found}) == 40


def test_three_objectives_are_taken() -> None:
    found = driven(
        Bayes(BITS, starts=3), 8, lambda a: (agreement(a), float(a["b0"]), -float(a["b1"]))
    )
    assert len({o.architecture for o in found}) == 8


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_limits_are_kept_tight_or_not(share: float) -> None:
    shape, outputs = (1, 8, 8), 3
    table = CELLS.cost_tables(shape, outputs)["params"]
    costs = sorted(table.cost(a) for a in CELLS.sample(400, seed=0))
    limit = CELLS.limit([f"params<={costs[int(share * len(costs))]}"], shape, outputs)
    sampler = Bayes(CELLS, limit=limit, starts=4)
    # What the goal wants is what the limit forbids.
    found = driven(sampler, 8, lambda a: (table.cost(a),))
    assert all(limit.allows(o.architecture) for o in found)
    assert len({o.architecture for o in found}) == 8


def test_a_large_space_is_searched_fast() -> None:
    space = darts(cells=2, channels=2)
    sampler = Bayes(space, starts=10)

    def score(a: Architecture) -> tuple[float]:
        return (float(sum(option == "sep_conv_3x3" for option in a.values())),)

    history = driven(sampler, 14, score)
    assert max(o.values[0] for o in history[10:]) > max(o.values[0] for o in history[:10])
    for observed in history:
        assert space.architecture(observed.architecture) == observed.architecture
    began = time.process_time()
    sampler.propose(history, np.random.default_rng(0))
    # A few tenths of a second; the bound is for busy machines.
    assert time.process_time() - began < 3


def test_choices_that_depend_are_searched() -> None:
    space = Widths()
    found = driven(Bayes(space, seed=2, starts=2), 8, lambda a: (float(len(a)),))
    for observed in found:
        assert space.architecture(observed.architecture) == observed.architecture


def test_a_study_of_optuna_gets_the_same_proposals_as_a_history() -> None:
    study = optuna.create_study(direction="minimize", sampler=Bayes(BITS, seed=5))
    study.optimize(lambda trial: -agreement(suggest(BITS, trial)), n_trials=18)
    plain = driven(Bayes(BITS, seed=5), 18, lambda a: (agreement(a),))
    assert [dict(o.architecture) for o in plain] == [t.params for t in study.trials]


def test_a_sampler_made_anew_proposes_the_same() -> None:
    history = driven(Bayes(BITS, seed=1), 34, lambda a: (agreement(a),))
    fresh = Bayes(BITS, seed=1)
    again = [fresh.propose(history[:n], np.random.default_rng(n)) for n in (20, 33, 34, 20)]
    other = Bayes(BITS, seed=1).propose(history, np.random.default_rng(34))
    assert again[2] == other and again[0] == again[3]


@pytest.mark.parametrize("starts", [0, 1])
def test_too_few_starts_are_refused(starts: int) -> None:
    with pytest.raises(UsageError, match=f"starts={starts}"):
        Bayes(BITS, starts=starts)
