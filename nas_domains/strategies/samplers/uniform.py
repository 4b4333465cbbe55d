"""Random search as a sampler."""

from collections.abc import Sequence

import numpy as np

from ...core.architecture import Architecture
from .base import Observation, SpaceSampler


class Uniform(SpaceSampler):
    """Uniform draws among the architectures that keep the limit; see :class:`SpaceSampler`.

    Optuna's own random sampler draws choice by choice, which is not uniform where a choice decides
    whether others exist.
    """

    def propose(self, history: Sequence[Observation], rng: np.random.Generator) -> Architecture:
        """See :meth:`SpaceSampler.propose`."""
        return self.draw(rng)
