"""Hyperband: which trials go on at which epochs."""

import math

import numpy as np
import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from ..core.errors import UsageError
from ..core.seeds import derive


class Hyperband(optuna.pruners.BasePruner):
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
        self.most, self.seed, self.least, self.factor = most, seed, least, factor
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
