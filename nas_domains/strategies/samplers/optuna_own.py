"""Optuna's own samplers, so that they keep limits and go on after a kill as if there were none."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ...core.limit import Limit
from ...core.seeds import derive
from ...core.space import SearchSpace
from .base import architecture_of, distributions
from .repair import repair

__all__ = ["PerTrial", "nsga2", "nsga3", "tpe"]


POPULATION = 20
"""Trials of a generation: each is a training, so there are few."""


class PerTrial(BaseSampler):
    """A sampler that is made anew for each trial, with a seed of its own.

    So what it proposes depends on the seed, the trial's number and the study alone. What breaks
    the limit is repaired.

    Args:
        make: Makes the sampler from a seed.
        space: The search space.
        seed: Of all that is random.
        limit: What every proposal keeps.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        space: SearchSpace,
        *,
        seed: int = 0,
        limit: Limit | None = None,
    ) -> None:
        self.make, self.space, self.seed, self.limit = make, space, seed, limit
        self._made: tuple[int, BaseSampler] | None = None

    def inner(self, trial: FrozenTrial) -> BaseSampler:
        """The sampler of a trial."""
        if self._made is None or self._made[0] != trial.number:
            seed = derive(self.seed, "sampler", trial.number) % 2**32
            self._made = trial.number, self.make(seed)
        return self._made[1]

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See Optuna: all choices of the space, proposed together."""
        return distributions(self.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See Optuna: what the sampler proposes, repaired where it breaks the limit."""
        inner = self.inner(trial)
        known = inner.infer_relative_search_space(study, trial)
        params = inner.sample_relative(study, trial, known)
        for name, distribution in search_space.items():
            if name not in params:
                params[name] = inner.sample_independent(study, trial, name, distribution)
        proposed = architecture_of(self.space, params)
        rng = np.random.default_rng(derive(self.seed, "repair", trial.number))
        return params | dict(repair(self.space, proposed, rng, self.limit))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See Optuna: a parameter that is no choice of the space."""
        return self.inner(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See Optuna."""
        self.inner(trial).before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Any
    ) -> None:
        """See Optuna."""
        self.inner(trial).after_trial(study, trial, state, values)


def tpe(space: SearchSpace, *, seed: int = 0, limit: Limit | None = None) -> PerTrial:
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), all choices together.

    With several objectives it is MOTPE (Ozaki et al. 2022). Running trials of other workers count
    as bad ones, so that not all propose the same.
    """

    def make(seed: int) -> BaseSampler:
        return TPESampler(seed=seed, multivariate=True, constant_liar=True)

    return PerTrial(make, space, seed=seed, limit=limit)


def nsga2(space: SearchSpace, *, seed: int = 0, limit: Limit | None = None) -> PerTrial:
    """Optuna's NSGA-II (Deb et al. 2002), with generations of 20."""
    return PerTrial(
        lambda s: NSGAIISampler(seed=s, population_size=POPULATION), space, seed=seed, limit=limit
    )


def nsga3(space: SearchSpace, *, seed: int = 0, limit: Limit | None = None) -> PerTrial:
    """Optuna's NSGA-III (Deb & Jain 2014), with generations of 20."""

    def make(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            # That it is experimental to Optuna, once a trial.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return NSGAIIISampler(seed=seed, population_size=POPULATION)

    return PerTrial(make, space, seed=seed, limit=limit)
