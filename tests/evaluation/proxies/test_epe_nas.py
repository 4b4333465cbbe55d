"""The proxy ``epe_nas``."""

import math

import pytest
import torch
from torch import Tensor, nn

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.proxies.epe_nas import EpeNas
from nas_domains.testing.proxies import ProxyContract
from tests.make import one_sentence

from .small import LOSS


class TestEpeNas(ProxyContract):
    proxy = EpeNas


class Quadratic(nn.Module):
    """Its Jacobian is its input; it has as many outputs as it is asked for."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return (x.square().sum(1, keepdim=True) / 2 / self.outputs).expand(-1, self.outputs)


X = torch.tensor(
    [
        [1.0, 1.0, -1.0, -1.0],
        [2.0, 0.0, 0.0, -2.0],
        [1.0, -1.0, 1.0, -1.0],
        [1.0, -1.0, 1.0, -1.0],
        [3.0, 1.0, 0.0, 2.0],
    ]
)
Y = torch.tensor([0, 0, 4, 4, 2])
HALF, FULL = math.log(math.sqrt(0.5) + 1e-5), math.log(1 + 1e-5)


def test_it_sums_logarithms_of_correlations_within_classes() -> None:
    # Two that correlate by half, two that are equal, and one alone.
    expected = abs(2 * HALF + 2 * FULL) + 4 * FULL + FULL
    assert EpeNas()(Quadratic(), X, Y, LOSS) == pytest.approx(expected, rel=1e-5)


def test_of_many_classes_it_compares_them() -> None:
    means = [(2 * HALF + 2 * FULL) / 2, 4 * FULL / 2, FULL]
    expected = sum(abs(a - b) for a in means for b in means) / 3
    assert EpeNas()(Quadratic(101), X, Y, LOSS) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("y", [torch.zeros(5), torch.zeros(5, 2, dtype=torch.long)])
def test_targets_that_are_no_classes_are_refused(y: Tensor) -> None:
    with pytest.raises(UsageError) as error:
        EpeNas()(Quadratic(), X, y, LOSS)
    one_sentence(str(error.value), "'epe_nas'", "jacov")
