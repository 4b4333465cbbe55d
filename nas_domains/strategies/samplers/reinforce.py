"""REINFORCE: a policy over the choices that learns from what its proposals scored."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.architecture import Architecture, Option
from ...core.errors import UsageError
from ...core.limit import Limit
from ...core.space import SearchSpace
from .base import Observation, SpaceSampler
from .repair import repair

Array = npt.NDArray[np.float64]

TRIES = 20
"""Draws of the policy for one that keeps the limit and was not scored yet."""


class Reinforce(SpaceSampler):
    """REINFORCE with a moving average as baseline and an entropy bonus (Zoph & Le 2017).

    The policy has a vector of logits for each choice in place of the paper's LSTM, as in later
    comparisons (Ying et al. 2019, arXiv 1902.09635), whose setting a few hundred trials are. It is
    learnt anew from all finished trials for each proposal, so that nothing has to be saved;
    rewards are measured in standard deviations from the baseline, so that their unit does not
    matter.

    Args:
        space: The search space.
        seed: Of all that is random.
        limit: What every proposal keeps; what the policy draws beside it is repaired.
        rate: Step of the logits for an advantage of one standard deviation.
        decay: Of the moving averages of reward and spread.
        entropy: Weight of the policy's entropy beside an advantage of one standard deviation.

    Raises:
        UsageError: A rate of 0 or less, a decay out of [0, 1), or an entropy below 0.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        limit: Limit | None = None,
        rate: float = 0.1,
        decay: float = 0.9,
        entropy: float = 0.01,
    ) -> None:
        super().__init__(space, seed=seed, limit=limit)
        for name, value, fits in (
            ("rate", rate, rate > 0),
            ("decay", decay, 0 <= decay < 1),
            ("entropy", entropy, entropy >= 0),
        ):
            if not (fits and math.isfinite(value)):
                raise UsageError(
                    f"{name}={value} of REINFORCE does not fit: rate is above 0, decay from 0 to "
                    "below 1, entropy 0 or more."
                )
        self.rate, self.decay, self.entropy = rate, decay, entropy
        sizes = [len(choice.options) for choice in space.choices]
        self._starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        self._sizes = np.array(sizes)
        self._encoded: dict[Architecture, Array] = {}

    def propose(self, history: Sequence[Observation], rng: np.random.Generator) -> Architecture:
        """See :meth:`SpaceSampler.propose`; the first of several objectives is the reward."""
        policy = self.policy(history)
        seen = {observation.architecture for observation in history}
        found = self._draw(policy, rng)
        for _ in range(TRIES):
            allowed = self.limit is None or self.limit.allows(found)
            if allowed and found not in seen:
                break
            found = self._draw(policy, rng)
        return repair(self.space, found, rng, self.limit)

    def policy(self, history: Sequence[Observation]) -> Array:
        """Probability of each option, choice after choice [sum of options], after the history."""
        logits = np.zeros(int(self._sizes.sum()))
        baseline = spread = 0.0
        probabilities = self._softmax(logits)
        for number, observation in enumerate(history):
            reward = observation.values[0]
            if not math.isfinite(reward):
                continue
            if number == 0:
                baseline = reward
            gap = reward - baseline
            # Weights of the first few are those of a mean, else the first would weigh most.
            weight = max(1 - self.decay, 1 / (number + 1))
            spread += weight * (gap * gap - spread)
            baseline += weight * gap
            if spread > 0:
                gain = float(np.clip(gap / math.sqrt(spread), -3, 3))
                drawn = self._one_hot(observation.architecture)
                logits += self.rate * self._gradient(probabilities, drawn, gain)
                probabilities = self._softmax(logits)
        return probabilities

    def _one_hot(self, architecture: Architecture) -> Array:
        if architecture not in self._encoded:
            self._encoded[architecture] = self.space.encode(architecture).astype(np.float64)
        return self._encoded[architecture]

    def _gradient(self, probabilities: Array, drawn: Array, gain: float) -> Array:
        """Of gain * log p + entropy * H, by the logits; choices switched off have none."""
        active = np.repeat(np.add.reduceat(drawn, self._starts), self._sizes)
        logs = np.log(np.maximum(probabilities, 1e-300))
        mean = np.repeat(np.add.reduceat(probabilities * logs, self._starts), self._sizes)
        score: Any = gain * (drawn - probabilities)
        bonus: Any = -self.entropy * probabilities * (logs - mean)
        return np.asarray(active * (score + bonus))

    def _softmax(self, logits: Array) -> Array:
        top = np.repeat(np.maximum.reduceat(logits, self._starts), self._sizes)
        raised: Array = np.exp(logits - top)
        sums: Array = np.repeat(np.add.reduceat(raised, self._starts), self._sizes)
        return np.asarray(raised / sums)

    def _draw(self, policy: Array, rng: np.random.Generator) -> Architecture:
        chosen: dict[str, Option] = {}
        for choice, start in zip(self.space.choices, self._starts, strict=True):
            # A draw for each choice, whether it is there or not, keeps draws in step.
            option = int(rng.choice(len(choice.options), p=policy[start:][: len(choice.options)]))
            chosen[choice.name] = choice.options[option]
        return self.space.complete(chosen, None)
