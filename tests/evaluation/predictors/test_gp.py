"""The predictor ``gp``."""

import numpy as np

from nas_domains.evaluation.predictors.gp import GaussianProcess
from nas_domains.testing.predictors import PredictorContract


class TestGaussianProcess(PredictorContract):
    predictor = GaussianProcess


def test_it_doubts_what_lies_far_away() -> None:
    x = np.linspace(0, 1, 20)[:, None] * [1, 1]
    y = np.sin(6 * x[:, 0])
    fitted = GaussianProcess().fit(x, y)
    mean, std = fitted.predict(x[::2] + 0.01)
    assert np.allclose(mean, np.sin(6 * (x[::2, 0] + 0.01)), atol=0.05)
    far = fitted.predict(np.array([[0.0, 1.0]]))[1][0]
    assert far > 3 * std.max()
