"""How good a predictor is: its ranks, and whether its standard deviations are honest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from ...core.errors import UsageError
from ...core.seeds import derive
from ..rank import kendall_tau
from .base import Array, Predictor, Values

LEVELS = tuple(level / 20 for level in range(1, 20))
"""Shares of the truths that intervals are meant to hold."""


@dataclass(frozen=True)
class Quality:
    """Predictions of what was left out, and how good they are.

    Attributes:
        mean: Predicted score [N].
        std: Its standard deviation [N].
        tau: Kendall's rank correlation with the truth.
        rmse: Root of the mean squared error.
        curve: For each of ``LEVELS`` the share of truths within that central interval.
        calibration_error: Mean distance of the curve from the diagonal: 0 is honest, 0.5 useless.
    """

    mean: Array
    std: Array
    tau: float
    rmse: float
    curve: tuple[float, ...]
    calibration_error: float


def judge(mean: Values, std: Values, truth: Values) -> Quality:
    """The quality of predictions.

    Calibration as by Kuleshov et al. 2018 (arXiv 1807.00263), of central intervals.

    Args:
        mean: Predicted scores [N].
        std: Their standard deviations [N], above 0.
        truth: True scores [N].

    Raises:
        UsageError: Unequal lengths, fewer than two, or numbers out of range.
    """
    m, s, t = (np.asarray(v, dtype=np.float64).reshape(-1) for v in (mean, std, truth))
    if len(s) != len(m) or not (s > 0).all() or not np.isfinite(s).all():
        raise UsageError("A calibration needs a standard deviation above 0 for each prediction.")
    tau = kendall_tau(m, t)
    # The central interval that just holds the truth.
    within = 2 * norm.cdf(np.abs(m - t) / s) - 1
    curve = tuple(float((within <= level).mean()) for level in LEVELS)
    error = float(np.abs(np.subtract(curve, LEVELS)).mean())
    return Quality(m, s, tau, float(np.sqrt(((m - t) ** 2).mean())), curve, error)


def cross_validate(
    make: Callable[[], Predictor],
    features: npt.NDArray[Any],
    scores: Values,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Quality:
    """Judges a predictor on folds that it did not see.

    Args:
        make: Makes a predictor that has learnt nothing.
        features: [N, D].
        scores: [N].
        folds: How many parts; each is predicted from the others.
        seed: Of the parts.

    Raises:
        UsageError: Fewer than two folds, or folds that leave a predictor fewer than two scores.
    """
    x, y = np.asarray(features), np.asarray(scores, dtype=np.float64).reshape(-1)
    if not 2 <= folds <= len(y) or len(y) < 3:
        raise UsageError(
            f"folds={folds} of {len(y)} scores is not possible: use at least 2 folds, no more "
            "than there are scores, of 3 scores or more."
        )
    order = np.random.default_rng(derive(seed, "folds")).permutation(len(y))
    mean, std = np.empty(len(y)), np.empty(len(y))
    for part in np.array_split(order, folds):
        rest = np.setdiff1d(order, part)
        mean[part], std[part] = make().fit(x[rest], y[rest]).predict(x[part])
    return judge(mean, std, y)
