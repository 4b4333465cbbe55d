"""The predictor ``ridge``."""

import numpy as np

from nas_domains.evaluation.predictors.ridge import Ridge
from nas_domains.testing.predictors import PredictorContract, sloped


class TestRidge(PredictorContract):
    predictor = Ridge


def test_it_learns_a_linear_rule_and_its_noise() -> None:
    x, y = sloped(200, noise=0.1)
    mean, std = Ridge().fit(x, y).predict(np.eye(6))
    assert np.allclose(mean - mean[3:].mean(), [3, -2, 1, 0, 0, 0], atol=0.15)
    assert np.allclose(std, 0.1, atol=0.03)
