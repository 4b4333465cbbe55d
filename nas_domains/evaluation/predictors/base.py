"""The base of all surrogate predictors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...core.errors import UsageError

Array = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[Any]

LEAST_STD = 1e-6
"""Smallest standard deviation of a prediction, as a share of that of the scores."""


CLIP = 3.0
"""Standard deviations beyond which a feature is no larger."""


class Predictor(ABC):
    """Learns scores from features, and says how sure it is.

        predictor = predictors.get("forest", seed=1).fit(features, scores)
        mean, std = predictor.predict(others)

    Features and scores are standardised here; a feature that is not finite, as of a proxy that
    could not score, counts as the smallest of its column. Subclasses implement :meth:`learn` and
    :meth:`infer` on what is standardised.

    Args:
        seed: Of all that is random; the same seed gives the same bits.

    Attributes:
        name: Under which it is registered.
    """

    name: ClassVar[str]

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self._columns: tuple[Array, Array, Array] | None = None
        self._scale = (0.0, 1.0)

    def fit(self, features: npt.NDArray[Any], scores: Values) -> "Predictor":
        """Learns, and forgets what it learnt before.

        Args:
            features: [N, D]; not finite where a feature is missing.
            scores: [N], finite; N >= 2.

        Returns:
            Itself.

        Raises:
            UsageError: Shapes that do not fit, fewer than two, or a score that is not finite.
        """
        x = _matrix(self.name, features)
        y = np.asarray(scores, dtype=np.float64).reshape(-1)
        if len(x) != len(y) or len(x) < 2:
            raise UsageError(
                f"The predictor {self.name!r} needs as many rows of features as scores and at "
                f"least two, not {len(x)} and {len(y)}: score more architectures."
            )
        if not np.isfinite(y).all():
            raise UsageError(
                f"The predictor {self.name!r} takes finite scores: leave out what has no score."
            )
        known = np.isfinite(x)
        least = np.where(known, x, np.inf).min(0)
        least = np.where(np.isfinite(least), least, 0.0)
        filled = np.where(known, x, least)
        spread = filled.std(0)
        self._columns = (least, filled.mean(0), np.where(spread > 0, spread, 1.0))
        self._scale = (float(y.mean()), float(y.std()) or 1.0)
        self.learn(self._standardised(x), (y - self._scale[0]) / self._scale[1])
        return self

    def predict(self, features: npt.NDArray[Any]) -> tuple[Array, Array]:
        """Mean and standard deviation of the score of each row.

        Args:
            features: [M, D], as given to :meth:`fit`.

        Returns:
            (mean [M], std [M]); every std is above 0.

        Raises:
            UsageError: It was not fitted, or on another number of features.
        """
        if self._columns is None:
            raise UsageError(f"The predictor {self.name!r} has learnt nothing: call fit first.")
        x = _matrix(self.name, features)
        if x.shape[1] != len(self._columns[0]):
            raise UsageError(
                f"The predictor {self.name!r} learnt {len(self._columns[0])} features, not "
                f"{x.shape[1]}: encode all architectures alike."
            )
        if not len(x):
            return np.empty(0), np.empty(0)
        mean, std = self.infer(self._standardised(x))
        offset, scale = self._scale
        return mean * scale + offset, np.maximum(std, LEAST_STD) * scale

    @abstractmethod
    def learn(self, x: Array, y: Array) -> None:
        """Fits to standardised features [N, D] and scores [N]."""

    @abstractmethod
    def infer(self, x: Array) -> tuple[Array, Array]:
        """Mean [M] and standard deviation [M] of the standardised scores, noise included."""

    def _standardised(self, x: Array) -> Array:
        assert self._columns is not None
        least, mean, spread = self._columns
        standard: Array = (np.where(np.isfinite(x), x, least) - mean) / spread
        # Some proxies have long tails, which would rule over a linear model.
        return np.clip(standard, -CLIP, CLIP)


def _matrix(name: str, features: npt.NDArray[Any]) -> Array:
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise UsageError(
            f"The predictor {name!r} takes features of shape [N, D], not {list(x.shape)}: give "
            "one row for each architecture."
        )
    return x
