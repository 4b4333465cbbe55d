"""The proxy ``jacov``."""

import math

import pytest
import torch
from torch import Tensor, nn

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.proxies.jacov import Jacov
from nas_domains.testing.proxies import ProxyContract
from tests.make import one_sentence

from .small import LOSS


class TestJacov(ProxyContract):
    proxy = Jacov


class Quadratic(nn.Module):
    """Its Jacobian is its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum(1, keepdim=True) / 2


def test_unlike_jacobians_score_high_and_equal_ones_low() -> None:
    y = torch.zeros(2, dtype=torch.long)
    apart = torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]])
    score = Jacov()(Quadratic(), apart, y, LOSS)
    # Uncorrelated: both eigenvalues are 1.
    assert score == pytest.approx(-2 * (math.log(1 + 1e-5) + 1 / (1 + 1e-5)))
    half = torch.tensor([[1.0, 1.0, -1.0, -1.0], [2.0, 0.0, 0.0, -2.0]])
    values = [1 + math.sqrt(0.5), 1 - math.sqrt(0.5)]
    expected = -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in values)
    assert Jacov()(Quadratic(), half, y, LOSS) == pytest.approx(expected)
    alike = apart[[0, 0]]
    assert Jacov()(Quadratic(), alike, y, LOSS) == pytest.approx(
        -(math.log(2 + 1e-5) + 1 / (2 + 1e-5) + math.log(1e-5) + 1e5)
    )


def test_a_network_that_does_not_read_its_input_ranks_last() -> None:
    x = torch.ones(2, 4)
    assert Jacov()(Quadratic(), x, torch.zeros(2), LOSS) == -math.inf


def test_a_cell_that_cuts_the_output_off_ranks_last() -> None:
    network, y = nn.Linear(4, 3), torch.zeros(2, dtype=torch.long)
    network.forward = lambda x: network.bias.expand(len(x), 3)  # type: ignore[method-assign]
    assert Jacov()(network, torch.randn(2, 4), y, LOSS) == -math.inf


class Words(nn.Module):
    """Tokens [B, T] by their vectors, behind those of their places; then as numbers."""

    def __init__(self, vectors: nn.Module, rest: nn.Module) -> None:
        super().__init__()
        self.places, self.vectors, self.rest = nn.Embedding(4, 3), vectors, rest

    def forward(self, x: Tensor) -> Tensor:
        places = self.places(torch.arange(x.shape[1]))
        found: Tensor = self.rest((self.vectors(x) + 0 * places).flatten(1))
        return found


@pytest.mark.parametrize("frozen", [False, True])
def test_tokens_count_by_the_vectors_that_are_looked_up(frozen: bool) -> None:
    torch.manual_seed(0)
    vectors = nn.Embedding(9, 3).requires_grad_(not frozen)
    tokens, y = torch.tensor([[0, 1, 2, 3], [4, 5, 0, 0], [8, 8, 7, 1]]), torch.zeros(3)
    rest = nn.Sequential(nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 2))
    found = Jacov()(Words(vectors, rest), tokens, y, LOSS)
    numbers = vectors(tokens).detach().flatten(1)
    assert found == pytest.approx(Jacov()(rest, numbers, y, LOSS), rel=1e-6)


def test_tokens_that_are_not_looked_up_are_refused() -> None:
    class Indexed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(9, 3)[x].sum(1)

    with pytest.raises(UsageError) as error:
        Jacov()(Indexed(), torch.zeros(2, 4, dtype=torch.long), torch.zeros(2), LOSS)
    one_sentence(str(error.value), "jacov", "int64")
