"""The predictor ``mlp``."""

import numpy as np
import torch

from nas_domains.evaluation.predictors.mlp import MlpEnsemble
from nas_domains.testing.predictors import PredictorContract, sloped


class TestMlpEnsemble(PredictorContract):
    predictor = MlpEnsemble


def test_it_learns_what_is_not_linear() -> None:
    x, _ = sloped(100)
    y = (x[:, 0] != x[:, 1]).astype(float)
    mean, _ = MlpEnsemble().fit(x, y).predict(x)
    assert ((mean > 0.5) == (y > 0.5)).mean() > 0.95


def test_it_fits_where_gradients_are_off_and_leaves_the_generator() -> None:
    x, y = sloped(20)
    state = torch.get_rng_state()
    with torch.no_grad():
        mean, _ = MlpEnsemble().fit(x, y).predict(x)
    assert np.corrcoef(mean, y)[0, 1] > 0.9
    assert torch.equal(torch.get_rng_state(), state)
