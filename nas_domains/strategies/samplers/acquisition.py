"""What a proposal is worth by what a surrogate expects of it."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Array = npt.NDArray[Any]

LOG_ROOT = 0.5 * np.log(2 * np.pi)


def log_expected_improvement(mean: Array, std: Array, best: float) -> Array:
    """The logarithm of the expected improvement over ``best`` (Jones et al. 1998).

    In logarithms the far tail still has an order (Ament et al. 2023, arXiv 2310.20708).

    Args:
        mean: Of the scores [M].
        std: Of the scores [M], above 0.
        best: The score to improve on.
    """
    z = np.asarray((mean - best) / std, dtype=np.float64)
    near = np.maximum(z, -6.0)
    value = near * ndtr(near) + np.exp(-0.5 * near**2 - LOG_ROOT)
    far = -0.5 * z**2 - LOG_ROOT - 2 * np.log(np.maximum(-z, 6.0))
    logs: Array = np.log(std) + np.where(z < -6.0, far, np.log(value))
    return logs


def expected_hypervolume_gain(mean: Array, std: Array, front: Array, reference: Array) -> Array:
    """The expected gain of dominated area, exactly, for two independent scores.

    The area that no point dominates is cut into strips, one between each two neighbours of the
    front (Yang et al. 2019, arXiv 1904.05760).

    Args:
        mean: Of the scores [M, 2].
        std: Of the scores [M, 2], above 0.
        front: Scores of the points that none dominates [F, 2].
        reference: The point from which area counts [2].
    """
    kept = front[(front > reference).all(1)]
    kept = kept[np.argsort(kept[:, 0])]
    lows = np.append(reference[0], kept[:, 0])
    floors = np.append(kept[:, 1], reference[1])
    # Each strip's width is what lies above its start less what lies above the next one's.
    beyond = [_above(mean[:, 0], std[:, 0], low) for low in lows] + [np.zeros(len(mean))]
    gain = np.zeros(len(mean))
    for near, far, floor in zip(beyond, beyond[1:], floors, strict=False):
        gain += np.maximum(near - far, 0) * _above(mean[:, 1], std[:, 1], floor)
    return gain


def _above(mean: Array, std: Array, level: float) -> Array:
    """By how much a normal variable is expected to lie above a level."""
    z = np.asarray((mean - level) / std, dtype=np.float64)
    value: Array = std * (z * ndtr(z) + np.exp(-0.5 * z**2 - LOG_ROOT))
    return np.maximum(value, 0)
