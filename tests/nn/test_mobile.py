"""Networks of inverted residuals, in 1, 2 and 3 dimensions."""

import pytest
import torch
from torch import nn

from nas_domains.nn.elastic.network import ElasticNetwork
from nas_domains.nn.mobile import (
    BlockSize,
    Frame,
    SqueezeExcitation,
    elastic_network,
    elastic_sizes,
    plain_network,
    squeezed,
)

LARGEST = [
    [BlockSize(8, 8, 24, 5, True), BlockSize(8, 8, 24, 5, True)],
    [BlockSize(8, 12, 24, 5, True), BlockSize(12, 12, 36, 5, True)],
]
SMALLER = [
    [BlockSize(8, 6, 16, 3, False)],
    [BlockSize(6, 12, 18, 5, True), BlockSize(12, 12, 24, 1, True)],
]
SIDES = {1: (9,), 2: (9, 7), 3: (5, 6, 3)}


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_smaller_sizes_are_networks_of_their_own(dims):
    torch.manual_seed(0)
    frame = Frame(8, 2, (1, 2), 16, dims)
    supernet = ElasticNetwork(elastic_network(frame, LARGEST, 2, 3), elastic_sizes)
    supernet.set_architecture(SMALLER)
    network = supernet.extract(SMALLER)
    assert str(network) == str(plain_network(frame, SMALLER, 2, 3))
    x = torch.randn(4, 2, *SIDES[dims])
    for training in (True, False):
        mine = supernet.train(training)(x)
        assert mine.shape == (4, 3)
        assert torch.equal(mine, network.train(training)(x))


def test_squeeze_and_excitation_by_its_formula():
    torch.manual_seed(0)
    module = SqueezeExcitation(nn.Linear(6, 8), nn.Linear(8, 6))
    x = torch.randn(3, 6, 4, 5)
    hidden = x.mean((2, 3)) @ module.reduce.weight.T + module.reduce.bias
    gates = hidden.clamp_min(0) @ module.restore.weight.T + module.restore.bias
    gates = ((gates + 3) / 6).clamp(0, 1)
    torch.testing.assert_close(module(x), x * gates[:, :, None, None])


def test_squeezed_widths_are_about_a_quarter_in_eights():
    channels = (1, 16, 47, 48, 64, 96, 144, 240)
    assert [squeezed(c) for c in channels] == [8, 8, 8, 16, 16, 24, 40, 64]
    widths = [squeezed(c) for c in range(1, 500)]
    assert widths == sorted(widths), "a wider block never squeezes to less"
