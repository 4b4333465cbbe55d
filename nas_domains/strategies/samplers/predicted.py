"""A predictor that trained architectures teach pre-selects what is trained next."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...core.architecture import Architecture
from ...core.errors import UsageError
from ...core.limit import Limit
from ...core.registry import predictors
from ...core.seeds import derive
from ...core.space import SearchSpace
from ...evaluation.predictors.base import Array
from ...evaluation.predictors.features import features
from .acquisition import log_expected_improvement
from .base import Observation, SpaceSampler
from .surrogate import normal_scores
from .unseen import unseen_draw, unseen_neighbours

POOL = 24
"""Architectures among which one is selected: half uniform draws, half near the best."""
PARENTS = 3
"""The best of the history whose neighbours are asked."""

Scores = Callable[[Architecture], Mapping[str, float | None]]


class Predicted(SpaceSampler):
    """A predictor selects, by expected improvement, among a few draws and neighbours of the best.

    It learns normal scores of the values from the choices and, where given, from proxies, which
    cost a forward pass or two and so are asked for the pool of a trial alone (White et al. 2021,
    arXiv 2104.01177: encodings and proxies tell a predictor different things). Never proposes what
    is known while something else is left. One objective.

    Args:
        space: The search space.
        seed: Of all that is random.
        limit: What every proposal keeps.
        predictor: Name of a registered predictor.
        scores: Gives scores by the same proxies for each architecture; None for no proxies.
        starts: Uniform draws before the first prediction, at least 2.
        pool: Architectures among which one is selected, at least 2.

    Raises:
        UsageError: ``starts`` or ``pool`` is less than 2.
    """

    learns_from_stopped = True

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        limit: Limit | None = None,
        predictor: str = "forest",
        scores: Scores | None = None,
        starts: int = 6,
        pool: int = POOL,
    ) -> None:
        if starts < 2 or pool < 2:
            raise UsageError(
                f"starts={starts} and pool={pool} of a predictor's search must both be at least 2."
            )
        super().__init__(space, seed=seed, limit=limit)
        self.predictor, self.scores, self.starts, self.pool = predictor, scores, starts, pool

    def propose(self, history: Sequence[Observation], rng: np.random.Generator) -> Architecture:
        """See the base: uniform draws first, then what is expected to improve most."""
        known = {o.architecture for o in history}
        if len(history) < self.starts:
            return unseen_draw(self.space, known, rng, self.limit)
        values = normal_scores(np.array([o.values[0] for o in history]))
        pool = self._pool(history, values, known, rng)
        seed = derive(self.seed, "predictor", len(history))
        model = predictors.get(self.predictor, seed=seed)
        model.fit(self._features([o.architecture for o in history]), values)
        mean, std = model.predict(self._features(pool))
        worth = log_expected_improvement(mean, std, float(values.max()))
        return pool[int(np.argmax(worth))]

    def _features(self, architectures: Sequence[Architecture]) -> Array:
        scores = None if self.scores is None else [self.scores(a) for a in architectures]
        return features(self.space, architectures, proxies=scores)

    def _pool(
        self,
        history: Sequence[Observation],
        values: Array,
        known: set[Architecture],
        rng: np.random.Generator,
    ) -> list[Architecture]:
        """Neighbours of the best, and uniform draws up to its size; each once, none known."""
        ranked = np.argsort(-values, kind="stable")[:PARENTS]
        near = {
            a: None
            for i in ranked.tolist()
            for a in unseen_neighbours(self.space, history[i].architecture, known, self.limit)
        }
        order = rng.permutation(len(near))[: self.pool // 2]
        neighbours = list(near)
        found = {neighbours[i]: None for i in order.tolist()}
        for _ in range(self.pool - len(found)):
            found[unseen_draw(self.space, known, rng, self.limit)] = None
        return list(found)
