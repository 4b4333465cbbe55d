"""Which trials go on at which epochs: Hyperband, and the forecast of learning curves."""

import math
from abc import abstractmethod

import numpy as np
import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ..core.errors import UsageError
from ..core.seeds import derive
from ..evaluation.learning_curve import probability_of_beating


class EpochPruner(optuna.pruners.BasePruner):
    """A pruner that is asked after each epoch, and knows what trials cost under it.

    Args:
        most: Epochs of a trial that is never stopped.
        seed: Of what is random.
    """

    def __init__(self, most: int, *, seed: int = 0) -> None:
        self.most, self.seed = most, seed

    @abstractmethod
    def mean_cost(self) -> float:
        """Epochs of a trial, in the mean over many, from which a time is planned."""


class CurveStop(EpochPruner):
    """Ends trainings whose learning curve is not expected to come to the best so far.

    A trial ends where the probability that its last epoch beats the best whole trial is below
    ``doubt`` (Domhan et al. 2015; see :func:`nas_domains.evaluation.learning_curve.forecast`).
    Unlike :class:`Hyperband` it looks at the shape of the curve, not at the rank at an epoch, so
    what learns late but steadily goes on.

    Args:
        most: Epochs of a trial that is never stopped.
        seed: Not used: nothing is random.
        doubt: The probability.
        least: Whole trials before any is stopped.

    Raises:
        UsageError: Fewer epochs than 1, or a probability that is none.
    """

    def __init__(self, most: int, *, seed: int = 0, doubt: float = 0.05, least: int = 3) -> None:
        if most < 1 or not 0 < doubt < 1:
            raise UsageError(
                f"Stopping by learning curves with most={most} and doubt={doubt} does not fit: "
                "give an epoch or more and a probability between 0 and 1."
            )
        super().__init__(most, seed=seed)
        self.doubt, self.least = doubt, least

    def mean_cost(self) -> float:
        """All epochs: how many are saved, only the curves to come can say."""
        return float(self.most)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """See Optuna."""
        whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        bests = [sign * t.value for t in whole if t.value is not None and t.number != trial.number]
        curve = sorted(trial.intermediate_values.items())
        scores = [sign * value for _, value in curve]
        if len(bests) < self.least or not scores or curve[-1][0] >= self.most:
            return False
        if not np.isfinite(scores).all():
            # A score that is missing says nothing on the ones to come.
            return False
        steps = [float(step) for step, _ in curve]
        return probability_of_beating(scores, max(bests), self.most, steps) < self.doubt


class Hyperband(EpochPruner):
    """Asynchronous successive halving (Li et al. 2020) in the brackets of Hyperband (2018).

    A trial of bracket b is compared at the epochs least * factor^(b + k), its rungs: it goes on
    where it is among the best 1/factor of those of its bracket that came to that rung so far, or
    the best of them. Brackets begin at different rungs, so that what learns slowly has a chance.

    Optuna's own pruner draws the bracket from the study's name and keeps notes in the study; here
    the bracket is drawn from the seed and the trial's number, and nothing is noted, so that a run
    of another name and a run that was killed decide alike.

    Args:
        most: Epochs of a trial that is never stopped.
        seed: Draws the brackets.
        least: Epochs before the first rung of the first bracket.
        factor: Of the trials at a rung, one of so many goes on.

    Raises:
        UsageError: Fewer epochs than 1, least above most, or a factor below 2.
    """

    def __init__(self, most: int, *, seed: int = 0, least: int = 1, factor: int = 3) -> None:
        if not 1 <= least <= most or factor < 2:
            raise UsageError(
                f"Hyperband from least={least} to most={most} epochs by factor={factor} does not "
                "fit: give 1 <= least <= most and a factor of 2 or more."
            )
        super().__init__(most, seed=seed)
        self.least, self.factor = least, factor
        # The last bracket has no rung: its trials are never stopped.
        self.brackets = 1
        while least * factor ** (self.brackets - 1) < most:
            self.brackets += 1

    def bracket(self, number: int) -> int:
        """The bracket of a trial: drawn so that all brackets cost about the same."""
        rng = np.random.default_rng(derive(self.seed, "bracket", number))
        return int(rng.choice(self.brackets, p=self.shares()))

    def shares(self) -> list[float]:
        """The share of the trials that each bracket has."""
        weights = [1 / self.cost(b) for b in range(self.brackets)]
        return [w / sum(weights) for w in weights]

    def rungs(self, bracket: int) -> list[int]:
        """The epochs at which trials of a bracket are compared."""
        epochs = [self.least * self.factor**k for k in range(bracket, self.brackets)]
        return [e for e in epochs if e < self.most]

    def cost(self, bracket: int) -> float:
        """Epochs of a trial of the bracket, in the mean over many."""
        stops = [*self.rungs(bracket), self.most]
        gaps = np.diff([0, *stops])
        return float(sum(gap / self.factor**k for k, gap in enumerate(gaps)))

    def mean_cost(self) -> float:
        """Epochs of a trial, in the mean over many."""
        return sum(s * self.cost(b) for b, s in enumerate(self.shares()))

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """See Optuna."""
        step = trial.last_step
        bracket = self.bracket(trial.number)
        if step is None or step not in self.rungs(bracket):
            return False
        sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        own = sign * trial.intermediate_values[step]
        others = [
            sign * t.intermediate_values[step]
            for t in study.get_trials(deepcopy=False)
            if t.number != trial.number
            and step in t.intermediate_values
            and self.bracket(t.number) == bracket
        ]
        kept = max(1, (len(others) + 1) // self.factor)
        better = sum(other > own for other in others if not math.isnan(other))
        return math.isnan(own) or better >= kept
