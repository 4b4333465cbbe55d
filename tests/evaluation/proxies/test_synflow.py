"""The proxy ``synflow``."""

import math

import pytest
import torch
from torch import nn

from nas_domains.evaluation.proxies.synflow import SynFlow
from nas_domains.testing.proxies import ProxyContract, batch

from .small import LOSS


class TestSynFlow(ProxyContract):
    proxy = SynFlow
    reads_data = False


def test_it_is_the_flow_of_absolute_weights_once_for_each_layer() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False)]
    network = nn.Sequential(layers[0], nn.BatchNorm1d(5), nn.ReLU(), layers[1])
    flow = (layers[1].weight.abs() @ layers[0].weight.abs()).sum().detach()
    x, y = torch.randn(6, 4), torch.zeros(6, dtype=torch.long)
    value = SynFlow()(network, x, y, LOSS)
    assert value == pytest.approx(math.log(2 * float(flow)), rel=1e-6)


def test_it_reaches_beyond_the_range_of_float32() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(60)))
    with torch.no_grad():
        for layer in network:
            layer.weight.fill_(1.0)
    x, y = torch.randn(2, 64), torch.zeros(2, dtype=torch.long)
    # 60 layers, 64 inputs, and 60 factors of 64.
    assert SynFlow()(network, x, y, LOSS) == pytest.approx(math.log(60) + 61 * math.log(64))


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(3), nn.InstanceNorm2d(3), nn.GroupNorm(1, 3), nn.LayerNorm(16)],
    ids=str,
)
def test_norms_are_taken_out(norm: nn.Module) -> None:
    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)
    x, y = batch()
    with_norm = SynFlow()(nn.Sequential(first, norm, last), x, y, LOSS)
    assert with_norm == SynFlow()(nn.Sequential(first, last), x, y, LOSS)


def test_a_network_that_lets_nothing_through_ranks_last() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False))
    nn.init.zeros_(network[1].weight)
    x, y = torch.randn(6, 4), torch.zeros(6, dtype=torch.long)
    assert SynFlow()(network, x, y, LOSS) == -math.inf


def test_tokens_flow_by_their_vectors() -> None:
    torch.manual_seed(0)
    vectors, last = nn.Embedding(9, 3), nn.Linear(12, 2, bias=False)
    network = nn.Sequential(vectors, nn.LayerNorm(3), nn.Flatten(), last)
    tokens, y = torch.tensor([[0, 1, 2, 3], [4, 5, 0, 0]]), torch.zeros(2, dtype=torch.long)
    flow = vectors.weight.abs()[tokens[0]].flatten() @ last.weight.abs().T
    value = SynFlow()(network, tokens, y, LOSS)
    # Each of the two layers has the whole flow.
    assert value == pytest.approx(math.log(2 * float(flow.detach().sum())), rel=1e-6)
