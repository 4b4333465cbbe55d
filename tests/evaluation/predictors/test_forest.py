"""The predictor ``forest``."""

from nas_domains.evaluation.predictors.forest import Forest
from nas_domains.testing.predictors import PredictorContract, sloped


class TestForest(PredictorContract):
    predictor = Forest


def test_it_learns_what_is_not_linear() -> None:
    x, _ = sloped(100)
    y = (x[:, 0] != x[:, 1]).astype(float)
    mean, _ = Forest().fit(x, y).predict(x)
    assert ((mean > 0.5) == (y > 0.5)).mean() > 0.95
    assert mean.min() > -1e-9 and mean.max() < 1 + 1e-9
