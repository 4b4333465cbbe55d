"""The contract tests that every surrogate predictor inherits.

    class TestMine(PredictorContract):
        predictor = Mine

Needs the extra ``test``.
"""

import math
from typing import Any, ClassVar

import numpy as np
import pytest

from ..core import registry
from ..core.errors import UsageError
from ..evaluation.predictors.base import Array, Predictor
from ..evaluation.predictors.quality import cross_validate

__all__ = ["PredictorContract", "sloped"]


def sloped(n: int = 60, noise: float = 0.1, seed: int = 0) -> tuple[Array, Array]:
    """Features [n, 6] of zeros and ones, and scores that rise with three of them."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (n, 6)).astype(np.float64)
    y = 3 * x[:, 0] - 2 * x[:, 1] + x[:, 2] + noise * rng.standard_normal(n)
    return x, 90 + y


class PredictorContract:
    """Base of a predictor's tests.

    Attributes:
        predictor: The class under test.
        least_tau: Kendall's tau that it reaches on folds of :func:`sloped` at least.
    """

    predictor: ClassVar[type[Predictor]]
    least_tau: ClassVar[float] = 0.7

    def test_it_is_registered_under_its_name(self) -> None:
        assert registry.predictors.load(self.predictor.name) is self.predictor

    def test_it_ranks_what_it_has_not_seen_and_knows_how_well(self) -> None:
        x, y = sloped()
        quality = cross_validate(lambda: self.predictor(seed=1), x, y)
        assert quality.tau > self.least_tau
        # No worse than twice too sure or too careful.
        assert 0.5 < np.sqrt(np.mean(((y - quality.mean) / quality.std) ** 2)) ** -1 < 4

    def test_more_noise_makes_it_less_sure(self) -> None:
        x, _ = sloped()
        quiet, loud = (
            self.predictor().fit(x, sloped(noise=noise)[1]).predict(x)[1].mean()
            for noise in (0.05, 2.0)
        )
        assert loud > 2 * quiet

    def test_a_seed_gives_the_same_bits(self) -> None:
        x, y = sloped()
        first, second = (self.predictor(seed=5).fit(x[:40], y[:40]).predict(x) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        again = self.predictor(seed=5).fit(x, y).fit(x[:40], y[:40]).predict(x)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))

    def test_scale_and_offset_of_scores_carry_over(self) -> None:
        x, y = sloped()
        mean, std = self.predictor().fit(x, y).predict(x)
        # A power of two, so that rounding is the same.
        other, wide = self.predictor().fit(x, 4 * y).predict(x)
        np.testing.assert_allclose(other, 4 * mean, rtol=1e-6)
        np.testing.assert_allclose(wide, 4 * std, rtol=1e-6)

    def test_predictions_have_their_shape_and_a_doubt(self) -> None:
        x, y = sloped()
        fitted = self.predictor().fit(x, y)
        for rows in (0, 1, 7):
            mean, std = fitted.predict(x[:rows])
            assert mean.shape == std.shape == (rows,)
            assert np.isfinite(mean).all() and (std > 0).all()

    def test_equal_scores_and_equal_features_are_no_trouble(self) -> None:
        x, y = sloped(12)
        mean, std = self.predictor().fit(x, np.full(12, 5.0)).predict(x)
        np.testing.assert_allclose(mean, 5, atol=0.05)
        mean, std = self.predictor().fit(np.ones((12, 2)), y).predict(np.ones((1, 2)))
        assert abs(mean[0] - y.mean()) < y.std() and std[0] > 0
        assert np.isfinite(self.predictor().fit(x[:2], y[:2]).predict(x)[0]).all()

    def test_a_feature_that_is_missing_counts_as_the_smallest(self) -> None:
        x, y = sloped()
        x[:, 0] += 7
        missing = x.copy()
        missing[::2, 0] = np.where(x[::2, 0] == 7, -math.inf, x[::2, 0])
        missing[1::2, 0] = np.where(x[1::2, 0] == 7, math.nan, x[1::2, 0])
        missing[0, 0] = x[0, 0] = 7
        mean, std = self.predictor().fit(x, y).predict(x)
        other, doubt = self.predictor().fit(missing, y).predict(missing)
        assert np.array_equal(mean, other) and np.array_equal(std, doubt)

    def test_bad_input_is_named(self) -> None:
        x, y = sloped()
        fitted = self.predictor().fit(x, y)
        cases: list[tuple[Any, str]] = [
            (lambda: self.predictor().predict(x), "call fit first"),
            (lambda: self.predictor().fit(x[:1], y[:1]), "at least two, not 1 and 1"),
            (lambda: self.predictor().fit(x, y[:5]), "60 and 5"),
            (lambda: self.predictor().fit(x[:, 0], y), r"\[60\]"),
            (lambda: self.predictor().fit(x[:, :0], y), r"\[60, 0\]"),
            (lambda: self.predictor().fit(x, np.where(y > 90, y, np.nan)), "finite scores"),
            (lambda: fitted.predict(x[:, :4]), "6 features, not 4"),
        ]
        for call, words in cases:
            with pytest.raises(UsageError, match=words) as error:
                call()
            assert self.predictor.name in str(error.value)
