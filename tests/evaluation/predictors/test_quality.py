"""The quality of predictions, on predictions whose quality is known."""

import math
from typing import Any

import numpy as np
import pytest

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.predictors.base import Array, Predictor
from nas_domains.evaluation.predictors.quality import LEVELS, cross_validate, judge
from nas_domains.testing.predictors import sloped
from tests.make import one_sentence


def test_honest_predictions_lie_on_the_diagonal_and_others_off_it() -> None:
    rng = np.random.default_rng(0)
    mean = rng.standard_normal(4000)
    std = rng.uniform(0.5, 2, 4000)
    truth = mean + std * rng.standard_normal(4000)
    honest = judge(mean, std, truth)
    assert honest.calibration_error < 0.02
    assert honest.curve == pytest.approx(LEVELS, abs=0.04)
    sure = judge(mean, std / 3, truth)
    careful = judge(mean, std * 3, truth)
    assert all(a < b < c for a, b, c in zip(sure.curve, honest.curve, careful.curve, strict=True))
    assert min(sure.calibration_error, careful.calibration_error) > 0.15


def test_the_numbers_are_those_of_their_definitions() -> None:
    quality = judge([1, 2, 3, 4], [1, 1, 1, 1], [1, 3, 2, 4])
    assert quality.tau == pytest.approx(4 / 6)
    assert quality.rmse == pytest.approx(math.sqrt(0.5))
    # Two are met, two are missed by one standard deviation: within 68.3 %.
    assert quality.curve == tuple(0.5 if level < 0.683 else 1.0 for level in LEVELS)


class Memory(Predictor):
    """Knows what it learnt by heart, and nothing else."""

    name = "memory"

    def learn(self, x: Array, y: Array) -> None:
        self.known = {tuple(row): value for row, value in zip(x, y, strict=True)}

    def infer(self, x: Array) -> tuple[Array, Array]:
        found = np.array([self.known.get(tuple(row), 9.0) for row in x])
        return found, np.ones(len(x))


def test_folds_are_predicted_by_what_has_not_seen_them() -> None:
    x = np.arange(20.0)[:, None]
    y = np.random.default_rng(0).standard_normal(20)
    quality = cross_validate(Memory, x, y, folds=4)
    # None of the predictions is the truth that the memory would give.
    assert (np.abs(quality.mean - y) > 1).all()
    other = cross_validate(Memory, x, y, folds=4, seed=1)
    assert not np.array_equal(quality.mean, other.mean)
    assert np.array_equal(quality.mean, cross_validate(Memory, x, y, folds=4).mean)


X, Y = sloped(6)
BAD: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
    (judge, ([1, 2], [1, 0], [1, 2]), {}, "above 0"),
    (judge, ([1, 2], [1, math.nan], [1, 2]), {}, "above 0"),
    (judge, ([1, 2], [1], [1, 2]), {}, "each prediction"),
    (judge, ([1, 2], [1, 1], [1, 2, 3]), {}, "2 and 3"),
    (cross_validate, (Memory, X, Y), {"folds": 1}, "folds=1"),
    (cross_validate, (Memory, X, Y), {"folds": 7}, "folds=7"),
    (cross_validate, (Memory, X[:2], Y[:2]), {"folds": 2}, "3 scores"),
]


@pytest.mark.parametrize("call, given, options, named", BAD)
def test_bad_input_is_named(
    call: Any, given: tuple[Any, ...], options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError) as error:
        call(*given, **options)
    one_sentence(str(error.value), named)
