"""Which architecture to look at next, from how others stood."""

from collections.abc import Sequence

import numpy as np

from ...core.architecture import Architecture
from ...core.errors import UsageError
from ...core.limit import Limit
from ...core.space import SearchSpace
from ...evaluation.predictors.features import features
from ...evaluation.predictors.gp import GaussianProcess

__all__ = ["most_promising"]

PARENTS = 4
"""Of how many of the best so far the next one is bred."""
POOL = 128
"""Architectures, bred and drawn, out of which it is taken."""
DRAWN = 32
"""Of those, uniform draws."""
TRIES = 4
"""Times as many are made at most, where many are known already or alike."""


def most_promising(
    space: SearchSpace,
    known: Sequence[Architecture],
    marks: Sequence[float],
    rng: np.random.Generator,
    limit: Limit | None = None,
) -> Architecture | None:
    """The architecture that a Gaussian process on the choices thinks may be best.

    Out of a pool of the best ones' mutants, with one choice changed or two, and of uniform draws:
    that with the largest mean plus one standard deviation. A step of Bayesian optimisation in the
    way of BANANAS (White et al. 2021, arXiv 1910.11858).

    Args:
        space: The space.
        known: Architectures that were looked at, which are not proposed again.
        marks: How each of them stood; more is better.
        rng: The only source of randomness.
        limit: What the proposal keeps.

    Returns:
        None where no architecture was found that is not known.
    """
    pool = _pool(space, known, marks, rng, limit)
    if len(pool) < 2 or len(known) < 2:
        return pool[0] if pool else None
    surrogate = GaussianProcess(seed=int(rng.integers(2**31)))
    surrogate.fit(features(space, known), marks)
    mean, std = surrogate.predict(features(space, pool))
    return pool[int(np.argmax(mean + std))]


def _pool(
    space: SearchSpace,
    known: Sequence[Architecture],
    marks: Sequence[float],
    rng: np.random.Generator,
    limit: Limit | None,
) -> list[Architecture]:
    best = sorted(range(len(known)), key=lambda i: (-marks[i], i))[:PARENTS]
    seen, pool = set(known), dict[Architecture, None]()
    for number in range(TRIES * POOL if best else 0):
        if len(pool) >= POOL - DRAWN:
            break
        parent = known[best[number % len(best)]]
        try:
            for _ in range(1 + int(rng.integers(2))):
                parent = space.mutate(parent, rng, limit)
        except UsageError:  # a single architecture, or no mutant within the limit
            break
        if parent not in seen:
            pool[parent] = None
    for drawn in space.sample(DRAWN, rng, limit):
        if drawn not in seen:
            pool[drawn] = None
    return list(pool)
