"""Repair: from an architecture that breaks a limit to one that keeps it."""

import numpy as np

from ...core.architecture import Architecture, Option
from ...core.limit import Limit
from ...core.space import SearchSpace


def repair(
    space: SearchSpace,
    architecture: Architecture,
    rng: np.random.Generator,
    limit: Limit | None,
) -> Architecture:
    """An architecture that keeps the limit and has as much of the given one as chance allows.

    Choices are taken, one after the other, from a random architecture that keeps the limit; what
    keeps it first is returned.

    Args:
        space: The space.
        architecture: One of it; returned as it is where it keeps the limit.
        rng: The only source of randomness.
        limit: The limit, or None.

    Raises:
        UsageError: No architecture keeps the limit.
    """
    if limit is None or limit.allows(architecture):
        return architecture
    kept = space.sample(1, rng, limit)[0]
    names = [name for name in kept if architecture.get(name) != kept[name]]
    choices: dict[str, Option] = dict(architecture)
    for i in rng.permutation(len(names)):
        choices[names[int(i)]] = kept[names[int(i)]]
        found = space.complete(choices, rng)
        if limit.allows(found):
            return found
    return kept
