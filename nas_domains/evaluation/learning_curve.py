"""Where a learning curve leads: the final score, forecast from the first epochs."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from ..core.errors import UsageError

Array = npt.NDArray[np.float64]

LEAST = 4
"""Scores below which nothing is forecast."""
RATE = 0.25
"""How fast a curve is expected to go on rising, as a share of its mean rate so far."""
DOUBT = 0.35
"""What a curve may still do that none of ours does, as a share of its latest rate going on."""
NOISE = (1.0, 0.05)
"""Shape of the prior of the noise's variance, and the usual noise as a share of the range seen."""


@dataclass(frozen=True)
class Forecast:
    """What the final score may be: a mixture of Student t distributions.

    Attributes:
        weights: Probability of each curve [K].
        means: Its final score [K].
        scales: Scale of its Student t [K].
        freedom: Degrees of freedom of all.
    """

    weights: Array
    means: Array
    scales: Array
    freedom: float

    @property
    def mean(self) -> float:
        """Expected final score."""
        return float(self.weights @ self.means)

    @property
    def std(self) -> float:
        """Standard deviation of the final score."""
        inner = self.scales**2 * self.freedom / (self.freedom - 2)
        return float(np.sqrt(self.weights @ (inner + (self.means - self.mean) ** 2)))

    def beats(self, best: float) -> float:
        """The probability that the final score is above ``best``."""
        above: Any = student.sf((best - self.means) / self.scales, self.freedom)
        return min(1.0, float(self.weights @ above))


def probability_of_beating(
    scores: npt.ArrayLike, best: float, final: float, steps: npt.ArrayLike | None = None
) -> float:
    """The probability that a training ends above the best score so far, for a pruner.

    Args:
        scores: [N] of the epochs so far; larger is better.
        best: What the final score must beat.
        final: The step at which training ends.
        steps: Of the scores [N]; 1, 2, ... where None.

    Returns:
        0 to 1; 1 where there are too few scores to tell, so that nothing is stopped by them.

    Raises:
        UsageError: As :func:`forecast`.
    """
    found = forecast(scores, final, steps)
    return 1.0 if found is None else found.beats(best)


def forecast(
    scores: npt.ArrayLike, final: float, steps: npt.ArrayLike | None = None
) -> Forecast | None:
    """The final score of a training, from the scores of its first epochs.

    Each curve is c + a g(t) with g rising to 0 at the end: power laws, exponentials and Hill
    curves over a grid of shapes, as in Domhan et al. 2015 (IJCAI) without its sampling. For a
    given g, Bayesian linear regression gives c, a and the noise in closed form; the evidence
    weighs the curves. Before it sees how a curve bends, it expects ``RATE`` of the mean rise to
    go on, give or take all of it; and while a curve still rises, none of ours may be right: so
    curves that rise late are not given up too soon.

    Args:
        scores: [N], finite; larger is better.
        final: The step at which training ends; not before the last of ``steps``.
        steps: Of the scores [N], above 0 and rising; 1, 2, ... where None.

    Returns:
        The forecast; None of fewer than ``LEAST`` scores.

    Raises:
        UsageError: Steps that do not rise or do not fit, or a score that is not finite.
    """
    y = np.asarray(scores, dtype=np.float64).reshape(-1)
    t = np.arange(1.0, len(y) + 1) if steps is None else np.asarray(steps, np.float64).reshape(-1)
    if len(t) != len(y) or not (np.diff(t, prepend=0.0) > 0).all():
        raise UsageError(
            f"The {len(t)} steps of a learning curve of {len(y)} scores must be one for each, "
            "above 0 and rising."
        )
    if not np.isfinite(y).all():
        raise UsageError("A learning curve takes finite scores: stop where training diverges.")
    if len(y) and not t[-1] <= final < np.inf:
        raise UsageError(
            f"final={final} of a learning curve lies before its last step {t[-1]:g}: name the "
            "step at which training ends."
        )
    if len(y) < LEAST:
        return None
    unit = max(float(np.ptp(y)), 0.01 * float(np.abs(y).max()), 1e-12)
    u = (y - y[-1]) / unit
    shapes = _shapes(tuple(t / final))
    x = np.stack([np.ones_like(shapes), shapes], axis=2)
    # What the mean rise so far would still add, in units of it.
    left = float((final - t[-1]) / (t[-1] - t[0]))
    prior, doubt = np.array([RATE * left, 0.0]), np.array([left + NOISE[1], left + 1])
    precision = np.diag(doubt**-2) + x.transpose(0, 2, 1) @ x
    seen = x.transpose(0, 2, 1) @ u + prior / doubt**2
    center = np.linalg.solve(precision, seen[:, :, None])[:, :, 0]
    shape = NOISE[0] + len(u) / 2
    rest = u @ u + ((prior / doubt) ** 2).sum()
    rest = (rest - np.einsum("ki,kij,kj->k", center, precision, center)) / 2
    scale = NOISE[0] * NOISE[1] ** 2 + np.maximum(rest, 0.0)
    # Up to what all curves share.
    evidence = -0.5 * np.linalg.slogdet(precision)[1] - shape * np.log(scale)
    weights = np.exp(evidence - evidence.max())
    late = max(3, (len(u) + 1) // 2)
    going_on = float(np.polyfit(t[-late:], u[-late:], 1)[0]) * (final - t[-1])
    # The noise of the last score, the variance of c, and that of no curve being right.
    inner = scale / shape * (1 + np.linalg.inv(precision)[:, 0, 0]) + (DOUBT * going_on) ** 2
    return Forecast(
        weights / weights.sum(), y[-1] + unit * center[:, 0], unit * np.sqrt(inner), 2 * shape
    )


@lru_cache(maxsize=1000)
def _shapes(t: tuple[float, ...]) -> Array:
    """g of each curve [K, N] at the shares t of the training: -1 at the first, 0 at the end."""
    at = np.array([*t, 1.0])
    powers = [at**-p for p in np.geomspace(0.1, 4, 12)]
    # Nearly straight, and bent upwards.
    roots = [1 - at**p for p in (0.5, 1.0, 2.0)]
    exponentials = [np.exp(-at / tau) for tau in np.geomspace(0.02, 2, 12)]
    hills = [
        1 / (1 + (at / tau) ** power) for power in (1.0, 2.0) for tau in np.geomspace(0.02, 1, 8)
    ]
    g = np.array([*powers, *roots, *exponentials, *hills])
    span = g[:, :1] - g[:, -1:]
    shapes: Array = (g[:, -1:] - g[:, :-1]) / np.where(span > 0, span, 1.0)
    return shapes
