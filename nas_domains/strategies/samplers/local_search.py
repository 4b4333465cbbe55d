"""Local search: neighbours of the best so far, from new draws when it has none left."""

from collections.abc import Sequence

import numpy as np

from ...core.architecture import Architecture
from ...core.errors import UsageError
from ...core.limit import Limit
from ...core.space import SearchSpace
from .base import Observation, SpaceSampler
from .unseen import unseen_draw, unseen_neighbours


class LocalSearch(SpaceSampler):
    """Local search (White, Nolen & Savani 2020, arXiv 2005.02960).

    Starts at the best of a few uniform draws, scores its neighbours in random order, moves as soon
    as one is better, and starts again where all neighbours are known. Never proposes what is
    known while something else is left. With several objectives it moves to a neighbour that is not
    dominated (Pareto local search, Paquete et al. 2004).

    Args:
        space: The search space.
        seed: Of all that is random.
        limit: What every proposal keeps.
        starts: Uniform draws of which the best is the start, at least 1.

    Raises:
        UsageError: ``starts`` is less than 1.
    """

    def __init__(
        self, space: SearchSpace, *, seed: int = 0, limit: Limit | None = None, starts: int = 10
    ) -> None:
        if starts < 1:
            raise UsageError(f"starts={starts} of the local search is too few: use at least 1.")
        super().__init__(space, seed=seed, limit=limit)
        self.starts = starts

    def propose(self, history: Sequence[Observation], rng: np.random.Generator) -> Architecture:
        """See the base: a neighbour of where the search stands, or a uniform draw."""
        known: set[Architecture] = set()
        current: Observation | None = None
        left: list[Architecture] = []
        drawn = 0
        # The walk so far, as the history tells it: no state of its own, so nothing to resume.
        for observed in history:
            known.add(observed.architecture)
            drawn += 1
            moved = current is None or _better(observed, current)
            if moved:
                current = observed
            if drawn < self.starts or current is None:
                continue
            if moved or drawn == self.starts:
                left = self._left(current, known)
            else:
                left = [a for a in left if a not in known]
            if not left:
                current, drawn = None, 0
        if current is None or drawn < self.starts:
            return unseen_draw(self.space, known, rng, self.limit)
        return left[int(rng.integers(len(left)))]

    def _left(self, current: Observation, known: set[Architecture]) -> list[Architecture]:
        return unseen_neighbours(self.space, current.architecture, known, self.limit)


def _better(new: Observation, old: Observation) -> bool:
    """Whether the new one is better, or, with several objectives, not dominated."""
    if len(new.values) == 1:
        return new.values > old.values
    return any(a > b for a, b in zip(new.values, old.values, strict=True))
