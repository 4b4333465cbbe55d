"""The proxy ``grasp``."""

import pytest
import torch
from torch import Tensor, nn

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.proxies.grasp import Grasp
from nas_domains.testing.proxies import ProxyContract
from tests.make import one_sentence

from .small import LOSS, perceptron, samples, weighted_loss


class TestGrasp(ProxyContract):
    proxy = Grasp


def test_it_is_the_product_of_weights_hessian_and_gradient() -> None:
    network = perceptron()
    sizes = [network[i].weight.shape for i in (0, 2)]

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([s.numel() for s in sizes])
        return weighted_loss(network, *(p.reshape(s) for p, s in zip(parts, sizes, strict=True)))

    w = torch.cat([network[i].weight.detach().flatten() for i in (0, 2)])
    hessian = torch.autograd.functional.hessian(loss, w)
    gradient = torch.func.grad(loss)(w)
    expected = -float((w @ hessian @ gradient).detach())
    assert Grasp()(network, *samples(), LOSS) == pytest.approx(expected, rel=1e-6)


def test_a_hard_sigmoid_has_a_second_derivative_here() -> None:
    network = nn.Sequential(perceptron()[0], nn.Hardsigmoid(), nn.Linear(3, 2).double())
    same = nn.Sequential(network[0], _Slope(), network[2])
    expected = Grasp()(same, *samples(), LOSS)
    assert Grasp()(network, *samples(), LOSS) == pytest.approx(expected, rel=1e-9)


class _Slope(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x / 6 + 0.5).clamp(0, 1)


def test_a_layer_without_second_derivative_is_named() -> None:
    class Once(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.aten.hardsigmoid(x)

    with pytest.raises(UsageError) as error:
        Grasp()(nn.Sequential(*perceptron(), Once()), *samples(), LOSS)
    one_sentence(str(error.value), "'grasp'", "second derivative", "snip")
