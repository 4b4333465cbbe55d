"""Aging evolution."""

from collections.abc import Sequence

import numpy as np

from ...core.architecture import Architecture
from ...core.errors import UsageError
from ...core.limit import Limit
from ...core.space import SearchSpace
from .base import Observation, SpaceSampler

TRIES = 20
"""Mutants that are made for one that was not scored yet."""


class AgingEvolution(SpaceSampler):
    """Regularised evolution (Real et al. 2019, arXiv 1802.01548).

    The population is the latest trials, whatever they scored: the oldest dies. The parent is the
    best of a few drawn from it, and its child differs in one choice. A child that was scored
    already is given up for another.

    Args:
        space: The search space.
        seed: Of all that is random.
        limit: What every proposal keeps.
        population: Trials that are alive; as many are drawn at random first.
        tournament: Of the population, drawn with replacement, of which the best is the parent.

    Raises:
        UsageError: A population or a tournament of none.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        limit: Limit | None = None,
        population: int = 20,
        tournament: int = 5,
    ) -> None:
        super().__init__(space, seed=seed, limit=limit)
        for name, value in (("population", population), ("tournament", tournament)):
            if value < 1:
                raise UsageError(f"{name}={value} of an evolution must be at least 1.")
        self.population, self.tournament = population, tournament

    def propose(self, history: Sequence[Observation], rng: np.random.Generator) -> Architecture:
        """See :meth:`SpaceSampler.propose`; the first of several objectives selects."""
        if len(history) < self.population:
            return self.draw(rng)
        alive = history[-self.population :]
        seen = {observation.architecture for observation in history}
        for _ in range(TRIES):
            drawn = [alive[int(i)] for i in rng.integers(len(alive), size=self.tournament)]
            parent = max(drawn, key=lambda o: o.values[0]).architecture
            try:
                child = self.space.mutate(parent, rng, self.limit)
            except UsageError:
                # It is alone in the space or within the limit.
                continue
            if child not in seen:
                return child
        return self.draw(rng)
