"""Acquisitions against sums over draws."""

import numpy as np

from nas_domains.strategies.samplers.acquisition import (
    expected_hypervolume_gain,
    log_expected_improvement,
)

MEAN = np.array([[0.2, 0.9], [1.5, 1.4], [-2.0, 0.1]])
STD = np.array([[0.5, 0.4], [0.3, 0.9], [0.2, 0.6]])
DRAWS = np.random.default_rng(0).standard_normal((100_000, 3))


def area(points: np.ndarray, reference: np.ndarray) -> float:
    """The dominated area, on a fine grid of the points' own coordinates."""
    total, floor = 0.0, reference[1]
    for x, y in sorted(map(tuple, points), reverse=True):
        if x > reference[0] and y > floor:
            total += (x - reference[0]) * (y - floor)
            floor = y
    return total


def test_expected_improvement_is_that_of_draws() -> None:
    draws = MEAN[:, 0] + STD[:, 0] * DRAWS
    expected = np.maximum(draws - 0.6, 0).mean(0)
    found = np.exp(log_expected_improvement(MEAN[:, 0], STD[:, 0], 0.6))
    # Four standard errors of the mean of the draws.
    error = 4 * np.maximum(draws - 0.6, 0).std(0) / len(draws) ** 0.5
    assert (np.abs(found - expected) <= error + 1e-9).all()


def test_the_far_tail_keeps_an_order_and_no_step() -> None:
    means = np.linspace(-60.0, 2.0, 2000)
    logs = log_expected_improvement(means, np.ones_like(means), 0.0)
    assert np.isfinite(logs).all() and (np.diff(logs) > -0.1).all()
    assert logs[0] < logs[500] < logs[1000] < logs[-1]


def test_the_gain_of_hypervolume_is_that_of_draws() -> None:
    front = np.array([[0.0, 2.0], [1.0, 1.0], [1.6, 0.2]])
    reference = np.array([-0.5, -0.5])
    pairs = np.stack([DRAWS[:2000, 0], DRAWS[:2000, 1]], axis=1)
    base = area(front, reference)
    found = expected_hypervolume_gain(MEAN, STD, front, reference)
    for i in range(len(MEAN)):
        points = MEAN[i] + STD[i] * pairs
        gains = np.array([area(np.vstack([front, p]), reference) - base for p in points])
        assert abs(found[i] - gains.mean()) <= 4 * gains.std() / len(gains) ** 0.5 + 1e-6


def test_a_point_that_is_sure_to_be_dominated_gains_nothing() -> None:
    front = np.array([[1.0, 1.0]])
    gain = expected_hypervolume_gain(
        np.zeros((1, 2)), np.full((1, 2), 1e-3), front, np.array([-1.0, -1.0])
    )
    assert gain[0] < 1e-9
