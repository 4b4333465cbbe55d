"""The contract tests that every sampler inherits.

    class TestMine(SamplerContract):
        def make_sampler(self, space, *, seed=0, limit=None):
            return MySampler(space, seed=seed, limit=limit)

They run through plain Optuna studies. Needs the extra ``test``.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
import optuna
import pytest
from optuna.trial import Trial

from ..core.architecture import Architecture
from ..core.limit import CostTable, Limit
from ..core.space import Choice, SearchSpace
from ..strategies.samplers.base import suggest

__all__ = ["SamplerContract", "additive", "conditional_space", "flat_space", "weight"]

Direction = Literal["minimize", "maximize"]
Scores = Callable[[Architecture], Sequence[float]]


def flat_space(choices: int = 6, options: int = 4) -> SearchSpace:
    """Choices that do not depend on each other."""
    names = [Choice(f"c{i}", tuple(range(options))) for i in range(choices)]
    return SearchSpace("flat", names)


def conditional_space() -> SearchSpace:
    """A choice that decides whether others exist, one of which decides on a third."""
    return SearchSpace(
        "conditional",
        [
            Choice("kind", ("conv", "pool", "skip")),
            Choice("kernel", (3, 5, 7), parent="kind", when=("conv",)),
            Choice("groups", (1, 2, 4), parent="kernel", when=(5, 7)),
            Choice("width", (8, 16, 32)),
        ],
    )


def additive(architecture: Architecture) -> float:
    """An easy score: the sum of the options of :func:`flat_space`."""
    return float(sum(float(option) for option in architecture.values()))


def weight(space: SearchSpace) -> CostTable:
    """The place of an option among its choice's is what it costs."""
    return CostTable(0, {c.name: {o: i for i, o in enumerate(c.options)} for c in space.choices})


class SamplerContract:
    """Base of a sampler's tests.

    Attributes:
        goals: How many objectives it weighs.
        trials: Of a study in which it must beat random search.
        seeds: Of such studies.
        margin: By how much its mean best must be above that of random search.
    """

    goals: ClassVar[int] = 1
    trials: ClassVar[int] = 60
    seeds: ClassVar[int] = 3
    margin: ClassVar[float] = 0.5

    def make_sampler(
        self, space: SearchSpace, *, seed: int = 0, limit: Limit | None = None
    ) -> optuna.samplers.BaseSampler:
        """The sampler under test."""
        raise NotImplementedError

    def _study(
        self,
        space: SearchSpace,
        scores: Scores,
        trials: int,
        *,
        seed: int = 0,
        limit: Limit | None = None,
        directions: Sequence[Direction] = ("maximize",),
        restart: int = 0,
    ) -> list[Architecture]:
        """What it proposes in a study, that goes on with a new sampler after some trials."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.InMemoryStorage()
        found: list[Architecture] = []

        def objective(trial: Trial) -> Sequence[float]:
            found.append(suggest(space, trial))
            return scores(found[-1])

        for number in [n for n in (restart, trials - restart) if n]:
            study = optuna.create_study(
                storage=storage,
                study_name="contract",
                directions=list(directions),
                sampler=self.make_sampler(space, seed=seed, limit=limit),
                load_if_exists=True,
            )
            study.optimize(objective, n_trials=number)
        return found

    @pytest.mark.parametrize("make_space", [flat_space, conditional_space])
    def test_proposals_are_architectures_of_the_space(
        self, make_space: Callable[[], SearchSpace]
    ) -> None:
        space = make_space()
        found = self._study(space, lambda a: [float(len(a))], 30)
        assert len(found) == 30 and len(set(found)) > 5
        for architecture in found:
            assert space.architecture(dict(architecture)) == architecture

    def test_the_same_seed_gives_the_same_proposals(self) -> None:
        space = flat_space()
        first, second, other = (
            self._study(space, lambda a: [additive(a)], 30, seed=seed) for seed in (1, 1, 2)
        )
        assert first == second and first != other

    @pytest.mark.parametrize("restart", [1, 13, 26])
    def test_a_study_goes_on_as_if_it_had_not_been_stopped(self, restart: int) -> None:
        space = conditional_space()
        whole = self._study(space, lambda a: [_uneven(a)], 30, seed=3)
        resumed = self._study(space, lambda a: [_uneven(a)], 30, seed=3, restart=restart)
        assert resumed == whole

    @pytest.mark.parametrize("make_space", [flat_space, conditional_space])
    def test_a_limit_is_kept(self, make_space: Callable[[], SearchSpace]) -> None:
        space = make_space()
        table = weight(space)
        high = float(np.median([table.cost(a) for a in space.sample(99)]))
        limit = Limit(space, {"weight": (-np.inf, high)}, {"weight": table})
        # The score pulls towards what breaks the limit.
        found = self._study(space, lambda a: [table.cost(a)], 30, limit=limit)
        assert all(table.cost(a) <= high for a in found)
        assert max(table.cost(a) for a in found) == high

    def test_a_space_with_a_single_architecture_is_searched(self) -> None:
        space = SearchSpace("single", [Choice("only", ("one",))])
        found = self._study(space, lambda a: [1.0], 25)
        assert found == space.sample(1) * 25

    def test_a_limit_that_one_architecture_keeps_is_searched(self) -> None:
        space = flat_space(3, 3)
        limit = Limit(space, {"weight": (-np.inf, 0)}, {"weight": weight(space)})
        found = self._study(space, lambda a: [additive(a)], 25, limit=limit)
        assert {additive(a) for a in found} == {0.0}

    def test_several_objectives(self) -> None:
        if self.goals < 2:
            pytest.skip("it weighs one objective")
        space = flat_space()
        directions: tuple[Direction, ...] = ("maximize", "minimize")
        found = self._study(
            space, lambda a: [additive(a), float(a["c0"])], self.trials, directions=directions
        )
        # The best of both is c0 = 0 and 3 elsewhere, which random draws rarely come near.
        value = [additive(a) - 2 * float(a["c0"]) for a in found]
        half = len(value) // 2
        assert np.mean(value[half:]) > np.mean(value[:20]) + 0.5

    @pytest.mark.parametrize("direction", ["maximize", "minimize"])
    def test_it_finds_what_random_search_does_not(self, direction: Direction) -> None:
        space = flat_space()
        sign = 1 if direction == "maximize" else -1
        best = []
        for seed in range(self.seeds):
            found = self._study(
                space, lambda a: [additive(a)], self.trials, seed=seed, directions=(direction,)
            )
            best.append(max(sign * additive(a) for a in found))
        draws = [space.sample(self.trials, seed) for seed in range(200)]
        random = [max(sign * additive(a) for a in found) for found in draws]
        assert np.mean(best) >= np.mean(random) + self.margin


def _uneven(architecture: Architecture) -> float:
    """A score that tells architectures of a conditional space apart, without ties."""
    return sum(_number(f"{n}={o}") for n, o in architecture.items())


def _number(text: str) -> float:
    """A number from 0 to 1 for a text, the same in every process."""
    return sum((i + 1) * ord(letter) for i, letter in enumerate(text)) % 97 / 97
