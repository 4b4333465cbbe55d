"""Bayesian optimisation of architectures."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from ...core.architecture import Architecture
from ...core.errors import UsageError
from ...core.limit import Limit
from ...core.objective import pareto
from ...core.space import SearchSpace
from . import surrogate
from .acquisition import Array, expected_hypervolume_gain, log_expected_improvement
from .base import Observation, SpaceSampler
from .encoding import Points, encoder, points
from .surrogate import Surrogate, squared_distances
from .unseen import SMALL, unseen_draw, unseen_neighbours

DRAWS = 400
PARENTS = 5
"""In a space that is too large to go through: uniform draws, and the best of the history whose
neighbours are asked."""
MISSES = 1000
"""Proposals that break a limit, after which the best of a few draws that keep it is taken."""
ALLOWED = 64
"""How many such draws."""
OFTEN, SELDOM = 30, 5
"""Up to how many trials the surrogate is fitted anew for each, and how seldom thereafter."""


class Bayes(SpaceSampler):
    """Bayesian optimisation with a Gaussian process over what architectures compute.

    The surrogate learns normal scores of the values from paths and numbers of the architectures
    (:class:`Encoder`); the proposal has the largest expected improvement (Jones et al. 1998), over
    all of a small space, else over the neighbours of the best and uniform draws, as in BANANAS
    (White et al. 2021, arXiv 1910.11858). Two objectives weigh by the expected gain of
    hypervolume, more by the largest loss under random weights (ParEGO, Knowles 2006). Never
    proposes what is known while something else is left.

    Args:
        space: The search space.
        seed: Of all that is random.
        limit: What every proposal keeps.
        starts: Uniform draws before the first surrogate, at least 2.

    Raises:
        UsageError: ``starts`` is less than 2.
    """

    def __init__(
        self, space: SearchSpace, *, seed: int = 0, limit: Limit | None = None, starts: int = 10
    ) -> None:
        if starts < 2:
            raise UsageError(f"starts={starts} of bayes is too few: use at least 2.")
        super().__init__(space, seed=seed, limit=limit)
        self.starts = starts
        # Both hold what the history alone decides, so that it need not be computed again.
        self._fitted: dict[tuple[object, ...], Array] = {}
        self._allowed: dict[tuple[int, Architecture], bool] = {}

    def propose(self, history: Sequence[Observation], rng: np.random.Generator) -> Architecture:
        """See the base: uniform draws first, then what the surrogate expects most of."""
        known = {o.architecture for o in history}
        if len(history) < self.starts:
            return unseen_draw(self.space, known, rng, self.limit)
        values = self._turned(history, rng)
        small = self.space.size() <= SMALL
        encode = points(self.space) if small else encoder(self.space)
        worth = partial(self._worth, encode([o.architecture for o in history]), values)
        if isinstance(encode, Points):
            pool = encode.architectures
            worths = worth(encode.features)[encode.point]
        else:
            pool = self._pool(history, values, known, rng)
            worths = worth(encode(pool))
        order = np.lexsort((rng.random(len(pool)), -worths))
        best = self._first(pool, order, known)
        if best is not None:
            return best
        # Few keep the limit, or all is known.
        left = {unseen_draw(self.space, known, rng, self.limit): None for _ in range(ALLOWED)}
        drawn = list(left)
        return drawn[int(np.argmax(worth(encode(drawn))))]

    def _first(
        self, pool: Sequence[Architecture], order: Array, known: set[Architecture]
    ) -> Architecture | None:
        """The first that is not known and keeps the limit; None after many that do not."""
        misses = 0
        for i in order.tolist():
            architecture: Architecture = pool[i]
            if architecture in known:
                continue
            if self.limit is None or self._allows(self.limit, architecture):
                return architecture
            misses += 1
            if misses == MISSES:
                break
        return None

    def _allows(self, limit: Limit, architecture: Architecture) -> bool:
        # What has no table is counted on a network that is built, and asked for trial after trial.
        key = limit.version, architecture
        if key not in self._allowed:
            self._allowed[key] = limit.allows(architecture)
        return self._allowed[key]

    def _turned(self, history: Sequence[Observation], rng: np.random.Generator) -> Array:
        """Normal scores [N, objectives] of the values, of which more than two become one."""
        values = np.array([o.values for o in history], dtype=np.float64)
        scores = np.stack([surrogate.normal_scores(v) for v in values.T], axis=1)
        if scores.shape[1] <= 2:
            return scores
        weights = rng.dirichlet(np.ones(scores.shape[1]))
        losses = weights * (scores.max(0) - scores)
        scalar = -losses.max(1) - 0.05 * losses.sum(1)
        return surrogate.normal_scores(scalar)[:, None]

    def _worth(self, seen: Sequence[Array], values: Array, features: Sequence[Array]) -> Array:
        """The acquisition [M] of points.

        Args:
            seen: Features [N, D] of the history, by group.
            values: Its scores [N, objectives].
            features: Those of the points [M, D], by group.
        """
        among = [squared_distances(x, x) for x in seen]
        across = [squared_distances(x, y) for x, y in zip(seen, features, strict=True)]
        means, stds = [], []
        for score in values.T:
            mean, std = Surrogate(among, score, self._theta(among, score)).predict(across)
            means.append(mean)
            stds.append(std)
        if len(means) == 1:
            return log_expected_improvement(means[0], stds[0], float(values.max()))
        front = values[pareto([tuple(v) for v in values.tolist()])]
        # A little below the worst, so that the ends of the front count.
        reference = values.min(0) - 0.1
        mean, std = np.stack(means, axis=1), np.stack(stds, axis=1)
        return expected_hypervolume_gain(mean, std, front, reference)

    def _theta(self, among: Sequence[Array], score: Array) -> Array:
        """Lengths and noise, fitted to the first trials so that they last for a few more."""
        n = len(score) if len(score) <= OFTEN else len(score) - len(score) % SELDOM
        first = surrogate.normal_scores(score[:n])
        key = (n, first.tobytes(), among[0][:n, :n].tobytes())
        if key not in self._fitted:
            if len(self._fitted) > 4:
                self._fitted.clear()
            self._fitted[key] = surrogate.fit([d[:n, :n] for d in among], first)
        return self._fitted[key]

    def _pool(
        self,
        history: Sequence[Observation],
        values: Array,
        known: set[Architecture],
        rng: np.random.Generator,
    ) -> list[Architecture]:
        """Uniform draws and the neighbours of the best, each once."""
        pool = dict.fromkeys(self.space.sample(DRAWS, rng, self.limit))
        ranked = np.argsort(-values.sum(1), kind="stable")[:PARENTS]
        for i in ranked.tolist():
            near = unseen_neighbours(self.space, history[i].architecture, known)
            pool |= dict.fromkeys(near)
        return list(pool)
