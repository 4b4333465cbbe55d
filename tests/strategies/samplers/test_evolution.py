"""Aging evolution: the contract, who dies, and who has children."""

import numpy as np
import pytest

from nas_domains.core.errors import UsageError
from nas_domains.core.space import Choice, SearchSpace
from nas_domains.strategies.samplers.base import Observation
from nas_domains.strategies.samplers.evolution import AgingEvolution
from nas_domains.testing.samplers import SamplerContract, additive, flat_space
from tests.make import one_sentence


class TestAgingEvolution(SamplerContract):
    make_sampler = staticmethod(AgingEvolution)


def observations(space: SearchSpace, number: int) -> list[Observation]:
    found = space.sample(number, seed=1)
    return [Observation(i, a, (additive(a),)) for i, a in enumerate(found)]


def differences(one: object, other: object) -> int:
    return sum(a != b for a, b in zip(dict(one).items(), dict(other).items(), strict=True))


def test_a_child_differs_from_the_best_that_is_alive_in_one_choice() -> None:
    space = flat_space()
    history = observations(space, 40)
    # A tournament in which surely all take part.
    sampler = AgingEvolution(space, population=10, tournament=200)
    top = max(o.values[0] for o in history[-10:])
    assert top < max(o.values[0] for o in history), "an older one must be better"
    best = [o.architecture for o in history[-10:] if o.values[0] == top]
    for seed in range(20):
        child = sampler.propose(history, np.random.default_rng(seed))
        assert 1 in [differences(child, parent) for parent in best]


def test_the_first_population_is_drawn_at_random() -> None:
    space = flat_space()
    sampler = AgingEvolution(space, population=20)
    child = sampler.propose(observations(space, 19), np.random.default_rng(0))
    assert child == space.sample(1, np.random.default_rng(0))[0]


def test_what_was_scored_is_given_up_for_another() -> None:
    space = SearchSpace("small", [Choice("a", (0, 1, 2, 3))])
    sampler = AgingEvolution(space, population=3, tournament=1)
    history = [Observation(i, space.architecture({"a": i}), (float(i),)) for i in (0, 1, 2)]
    proposed = {sampler.propose(history, np.random.default_rng(s))["a"] for s in range(20)}
    assert proposed == {3}


@pytest.mark.parametrize("name", ["population", "tournament"])
def test_bad_options_are_named(name: str) -> None:
    with pytest.raises(UsageError) as error:
        AgingEvolution(flat_space(), **{name: 0})
    one_sentence(str(error.value), f"{name}=0")
