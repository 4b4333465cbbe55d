"""What all samplers share: architectures as Optuna trials, and the history they propose from."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ...core.architecture import Architecture
from ...core.limit import Limit
from ...core.seeds import derive
from ...core.space import SearchSpace

__all__ = ["Observation", "SpaceSampler", "architecture_of", "distributions", "suggest"]


@dataclass(frozen=True)
class Observation:
    """A finished trial.

    Attributes:
        number: Of the trial.
        architecture: That it scored.
        values: A score for each objective, turned so that more is better.
    """

    number: int
    architecture: Architecture
    values: tuple[float, ...]


class SpaceSampler(optuna.samplers.BaseSampler):
    """Proposes the next architecture from the finished trials of a study.

    What is random depends on the seed and the trial's number alone, so a study that is resumed
    goes on as one that was never stopped.

        study = optuna.create_study(direction="maximize", sampler=AgingEvolution(space, seed=1))
        study.optimize(lambda trial: accuracy(suggest(space, trial)), n_trials=100)

    Args:
        space: The search space.
        seed: Of all that is random.
        limit: What every proposal keeps, of :meth:`SearchSpace.limit`.
    """

    learns_from_stopped: ClassVar[bool] = False
    """Whether the history holds trials that a pruner ended, with their best score so far."""

    def __init__(self, space: SearchSpace, *, seed: int = 0, limit: Limit | None = None) -> None:
        self.space, self.seed, self.limit = space, seed, limit

    @abstractmethod
    def propose(self, history: Sequence[Observation], rng: np.random.Generator) -> Architecture:
        """The next architecture.

        Args:
            history: The finished trials, by number.
            rng: The only source of randomness, that of this trial.
        """

    def draw(self, rng: np.random.Generator) -> Architecture:
        """A uniform draw that keeps the limit."""
        return self.space.sample(1, rng, self.limit)[0]

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See Optuna: all choices of the space, proposed together."""
        return distributions(self.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See Optuna: an option for each choice."""
        rng = np.random.default_rng(derive(self.seed, "sampler", trial.number))
        proposed = self.propose(self.history(study, trial.number), rng)
        first = {choice.name: choice.options[0] for choice in self.space.choices}
        return first | dict(proposed)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See Optuna: a uniform draw of a parameter that is no choice of the space."""
        seed = derive(self.seed, "sampler", trial.number, param_name) % 2**32
        random = optuna.samplers.RandomSampler(seed=seed)
        return random.sample_independent(study, trial, param_name, param_distribution)

    def history(self, study: Study, before: int) -> list[Observation]:
        """The finished trials with a smaller number than ``before``."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        signs = [1.0 if d is StudyDirection.MAXIMIZE else -1.0 for d in study.directions]
        names = {choice.name for choice in self.space.choices}
        found = []
        for trial in study.get_trials(deepcopy=False, states=states):
            if trial.number < before and names <= trial.params.keys():
                if trial.state is TrialState.COMPLETE:
                    values = tuple(s * v for s, v in zip(signs, trial.values, strict=True))
                elif self.learns_from_stopped and trial.intermediate_values:
                    values = (max(signs[0] * v for v in trial.intermediate_values.values()),)
                else:
                    continue
                architecture = architecture_of(self.space, trial.params)
                found.append(Observation(trial.number, architecture, values))
        return sorted(found, key=lambda o: o.number)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The choices of a space as Optuna's distributions, the same for every trial."""
    return {c.name: CategoricalDistribution(c.options) for c in space.choices}


def suggest(space: SearchSpace, trial: optuna.trial.BaseTrial) -> Architecture:
    """The architecture of an Optuna trial; any sampler may be behind it.

    A choice that another one switches off is suggested like all others, so that the distributions
    are the same for every trial, and left out of the architecture.
    """
    return architecture_of(
        space, {c.name: trial.suggest_categorical(c.name, c.options) for c in space.choices}
    )


def architecture_of(space: SearchSpace, params: Mapping[str, Any]) -> Architecture:
    """The architecture of a trial's parameters: those of the choices that are switched on."""
    return space.complete({c.name: params[c.name] for c in space.choices}, None)
