"""The proxy ``grad_norm``."""

import pytest

from nas_domains.evaluation.proxies.grad_norm import GradNorm
from nas_domains.testing.proxies import ProxyContract

from .small import LOSS, perceptron, samples


class TestGradNorm(ProxyContract):
    proxy = GradNorm


def test_it_sums_the_norms_of_the_weights_gradients() -> None:
    network, (x, y) = perceptron(), samples()
    value = GradNorm()(network, x, y, LOSS)
    LOSS(network(x), y).backward()
    expected = sum(float(network[i].weight.grad.norm()) for i in (0, 2))
    assert value == pytest.approx(expected, rel=1e-6)
    assert GradNorm()(network, x, y, lambda a, b: 3 * LOSS(a, b)) == pytest.approx(3 * value)
