"""The proxy ``params``."""

import torch
from torch import nn

from nas_domains.evaluation.proxies.params import Params
from nas_domains.testing.proxies import ProxyContract, batch


class TestParams(ProxyContract):
    proxy = Params
    reads_data = reads_weights = False


def test_it_counts_what_is_trained() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.Linear(4, 3))
    network[2].requires_grad_(False)
    x, y = batch()
    assert Params()(network, x, y, torch.nn.functional.cross_entropy) == 769 * 4
