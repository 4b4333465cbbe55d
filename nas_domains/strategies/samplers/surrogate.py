"""The surrogate of Bayesian optimisation: a Gaussian process over groups of features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtri
from scipy.stats import rankdata

Array = npt.NDArray[Any]

LENGTHS = (-3.0, 5.0)
NOISES = (-8.0, 1.0)
"""Where the logarithms of lengths and of the noise's variance are looked for."""
USUAL_NOISE = np.log(0.05)
STEPS = 15


def squared_distances(one: Array, other: Array) -> Array:
    """[N, D], [M, D] -> [N, M]."""
    found = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    distances: Array = np.maximum(found, 0)
    return distances


def normal_scores(values: Array) -> Array:
    """Values [N] as the quantiles of a normal distribution at their ranks.

    Accuracies have a long lower tail, which would rule over the surrogate.
    """
    scores: Array = ndtri((rankdata(values) - 0.5) / len(values))
    return scores


class Surrogate:
    """A Gaussian process with a Matern kernel (5/2) and a length for each group of features.

    Lengths and noise have the largest posterior density under log-normal priors around 1 and
    0.05, the variance the largest likelihood (Rasmussen & Williams 2006). Lengths are meant for
    features that :class:`Encoder` has scaled.

    Args:
        distances: Squared distances [N, N] of each group.
        scores: [N], of about zero mean and unit variance.
        theta: What :func:`fit` found.
    """

    def __init__(self, distances: Sequence[Array], scores: Array, theta: Array) -> None:
        self._theta = theta
        covariance = _matern(distances, theta)
        covariance[np.diag_indices_from(covariance)] += np.exp(theta[-1])
        factor = cho_factor(covariance, lower=True)
        self._weights = cho_solve(factor, scores)
        self._factor = np.tril(factor[0]).astype(np.float32)
        self._variance = (scores @ self._weights + 1) / (len(scores) + 1)

    def predict(self, distances: Sequence[Array]) -> tuple[Array, Array]:
        """Mean [M] and standard deviation [M] of scores, without noise.

        Args:
            distances: Squared distances [N, M] from what was fitted, of each group.
        """
        covariance = _matern(distances, self._theta)
        mean = self._weights.astype(covariance.dtype) @ covariance
        root = solve_triangular(self._factor, covariance, lower=True, check_finite=False)
        left = np.maximum(1 - (root**2).sum(0), 1e-7)
        return mean, np.sqrt(self._variance * left)


def fit(distances: Sequence[Array], scores: Array) -> Array:
    """Logarithms of the length of each group and of the noise's variance; see above.

    Args:
        distances: Squared distances [N, N] of each group.
        scores: [N].
    """
    groups, n = len(distances), len(scores)
    exact = [d.astype(np.float64) for d in distances]

    def loss(theta: Array) -> float:
        covariance = _matern(exact, theta)
        covariance[np.diag_indices(n)] += np.exp(theta[-1])
        try:
            factor, lower = cho_factor(covariance, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e9
        variance = (scores @ cho_solve((factor, lower), scores) + 1) / (n + 1)
        prior = 0.5 * (theta[:-1] ** 2).sum() + 0.5 * ((theta[-1] - USUAL_NOISE) / 1.5) ** 2
        return float(0.5 * n * np.log(variance) + np.log(np.diag(factor)).sum() + prior)

    start = np.append(np.zeros(groups), USUAL_NOISE)
    bounds = [LENGTHS] * groups + [NOISES]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    theta: Array = found.x
    return theta


def _matern(distances: Sequence[Array], theta: Array) -> Array:
    total = sum(
        d * np.asarray(np.exp(-2 * t), dtype=d.dtype)
        for d, t in zip(distances, theta[:-1], strict=True)
    )
    root = np.sqrt(5 * total + 1e-12)
    value: Array = (1 + root + root**2 / 3) * np.exp(-root)
    return value
