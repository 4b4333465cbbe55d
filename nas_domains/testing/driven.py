"""Samplers without a study: proposals on a history, which is what a study's trials get.

Needs the extra ``test``.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ..core.architecture import Architecture
from ..core.seeds import derive
from ..strategies.samplers.base import Observation, SpaceSampler

__all__ = ["driven"]


def driven(
    sampler: SpaceSampler,
    trials: int,
    score: Callable[[Architecture], Sequence[float]],
    stop: Callable[[Observation], bool] = lambda observed: False,
) -> list[Observation]:
    """What a study with one worker would record, far faster than a study.

    Args:
        sampler: Proposes.
        trials: How many at most.
        score: Architecture -> its values, larger being better.
        stop: Whether a trial is the last.
    """
    history: list[Observation] = []
    for number in range(trials):
        rng = np.random.default_rng(derive(sampler.seed, "sampler", number))
        architecture = sampler.propose(history, rng)
        values = tuple(float(v) for v in score(architecture))
        history.append(Observation(number, architecture, values))
        if stop(history[-1]):
            break
    return history
