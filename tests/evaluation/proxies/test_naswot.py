"""The proxy ``naswot``."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.proxies.naswot import NasWot
from nas_domains.testing.proxies import ProxyContract
from tests.make import one_sentence

from .small import LOSS, perceptron, samples


class TestNasWot(ProxyContract):
    proxy = NasWot


X = torch.tensor([[1.0, 2.0, -1.0], [1.0, -2.0, -1.0], [-1.0, -2.0, 3.0]])
Y = torch.zeros(3, dtype=torch.long)
EQUAL = np.array([[3, 2, 0], [2, 3, 1], [0, 1, 3]])
"""Signs that two rows of X share."""


class Functional(nn.Module):
    """A network whose activation is a function and not a module."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize(
    "network",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ReLU6(),
        nn.Hardswish(),
        nn.GELU(),
        Functional(torch.relu),
        Functional(lambda x: x.clone().relu_()),
        Functional(nn.functional.silu),
    ],
    ids=str,
)
def test_the_kernel_counts_equal_units_wherever_activations_stand(network: nn.Module) -> None:
    expected = np.linalg.slogdet(EQUAL)[1]
    assert NasWot()(network, X, Y, LOSS) == pytest.approx(expected)


def test_activations_add_up() -> None:
    network = nn.Sequential(nn.ReLU(), nn.Unflatten(1, (3, 1)), nn.ReLU())
    # After a ReLU what was off stays off: the kernel doubles.
    expected = np.linalg.slogdet(2 * EQUAL)[1]
    assert NasWot()(network, X, Y, LOSS) == pytest.approx(expected)


def test_inputs_of_one_code_rank_last() -> None:
    assert NasWot()(nn.ReLU(), X[[0, 0, 1]], Y, LOSS) == -math.inf


def test_a_network_without_activations_is_refused() -> None:
    for network in (perceptron(), nn.Linear(4, 2).double()):
        with pytest.raises(UsageError) as error:
            NasWot()(network, *samples(), LOSS)
        one_sentence(str(error.value), "'naswot'", "ReLU")
