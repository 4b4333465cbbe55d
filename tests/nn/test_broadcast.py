"""Networks for spectrograms: the block by its formula, smaller sizes as networks of their own."""

import pytest
import torch
from torch import nn

from nas_domains.nn.broadcast import (
    BlockSize,
    Frame,
    elastic_block,
    elastic_network,
    elastic_sizes,
    plain_network,
)
from nas_domains.nn.elastic.base import plain
from nas_domains.nn.elastic.network import ElasticNetwork

FRAME = Frame(4, 2, (4, 6), (1, 2))
LARGEST = [[BlockSize(8, 5, True, True)] * 2, [BlockSize(12, 5, True, True)]]
SMALLER = [[BlockSize(4, 3, False, False)], []]


@pytest.mark.parametrize("broadcast", [True, False])
def test_a_block_by_its_formula(broadcast):
    torch.manual_seed(0)
    block = plain(elastic_block(BlockSize(6, 5, False, broadcast), 4)).eval()
    x = torch.randn(3, 4, 7, 9)
    y = nn.functional.conv2d(x, block.bands[0].weight, padding=(1, 0), groups=4)
    y = block.bands[1](y)
    seen = y.mean(2, keepdim=True) if broadcast else y
    t = nn.functional.conv2d(seen, block.time[0].weight, padding=(0, 2), groups=4)
    t = block.time[1](t).relu()
    inside = torch.einsum("oi,bift->boft", block.mix[0].weight[:, :, 0, 0], t)
    inside = block.mix[1](inside).relu()
    t = block.mix[4](torch.einsum("oi,bift->boft", block.mix[3].weight[:, :, 0, 0], inside))
    assert t.shape[2] == (1 if broadcast else 7)
    torch.testing.assert_close(block(x), (x + y + t).relu())


@pytest.mark.parametrize("sizes", [SMALLER, LARGEST], ids=["smaller", "largest"])
def test_smaller_sizes_are_networks_of_their_own(sizes):
    torch.manual_seed(0)
    supernet = ElasticNetwork(elastic_network(FRAME, LARGEST, 1, 3), elastic_sizes)
    supernet.set_architecture(sizes)
    network = supernet.extract(sizes)
    assert str(network) == str(plain_network(FRAME, sizes, 1, 3))
    x = torch.randn(4, 1, 10, 13)
    for training in (True, False):
        mine = supernet.train(training)(x)
        assert mine.shape == (4, 3)
        assert torch.equal(mine, network.train(training)(x))


def test_strides_are_of_bands_alone_but_for_the_stem():
    network = plain_network(FRAME, SMALLER, 1, 3)
    x = torch.randn(2, 1, 16, 16)
    assert network.stages(network.stem(x)).shape == (2, 6, 4, 8)
