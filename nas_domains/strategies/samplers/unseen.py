"""Architectures that a study has not scored yet."""

from collections.abc import Collection, Iterator

import numpy as np

from ...core.architecture import Architecture
from ...core.limit import Limit
from ...core.space import SearchSpace

SMALL = 50_000
"""Architectures up to which a space is gone through one by one."""
DRAWS = 50
"""Uniform draws before that."""


def unseen_draw(
    space: SearchSpace,
    known: Collection[Architecture],
    rng: np.random.Generator,
    limit: Limit | None = None,
) -> Architecture:
    """A uniform draw among what is not known, or any draw where all of the space is known.

    Args:
        space: The search space.
        known: What has a score; fast to ask, such as a set.
        rng: The source of randomness.
        limit: What the draw keeps.
    """
    for _ in range(DRAWS):
        architecture = space.sample(1, rng, limit)[0]
        if architecture not in known:
            return architecture
    if space.size() > SMALL:
        return architecture
    left = [a for a in every(space, limit) if a not in known]
    return left[int(rng.integers(len(left)))] if left else architecture


def every(space: SearchSpace, limit: Limit | None = None) -> Iterator[Architecture]:
    """All architectures that keep the limit, in order."""
    return (a for a in space if limit is None or limit.allows(a))


def unseen_neighbours(
    space: SearchSpace,
    architecture: Architecture,
    known: Collection[Architecture],
    limit: Limit | None = None,
) -> list[Architecture]:
    """What differs in one choice, keeps the limit and is not known."""
    return [
        a
        for a in space.neighbours(architecture)
        if a not in known and (limit is None or limit.allows(a))
    ]
