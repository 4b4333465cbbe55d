"""The proxy ``flops``."""

from torch import nn

from nas_domains.evaluation.proxies.flops import Flops
from nas_domains.testing.proxies import ProxyContract, batch


class TestFlops(ProxyContract):
    proxy = Flops
    reads_data = reads_weights = False


def test_it_counts_two_for_each_product_of_one_input() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 256, 3)
    )
    x, y = batch()
    assert Flops()(network, x, y, nn.functional.cross_entropy) == 2 * (256 * 5 * 27 + 3 * 5 * 256)
