"""The proxy ``snip``."""

import math

import pytest
import torch
from torch import nn

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.proxies.snip import Snip
from nas_domains.testing.proxies import ProxyContract
from tests.make import one_sentence

from .small import LOSS, perceptron, samples, weighted_loss


class TestSnip(ProxyContract):
    proxy = Snip


def test_it_sums_what_a_mask_of_each_weight_does_to_the_loss() -> None:
    network = perceptron()
    masks = [torch.ones_like(network[i].weight, requires_grad=True) for i in (0, 2)]
    weights = [network[i].weight.detach() * m for i, m in zip((0, 2), masks, strict=True)]
    found = torch.autograd.grad(weighted_loss(network, *weights), masks)
    expected = sum(float(g.abs().sum()) for g in found)
    assert Snip()(network, *samples(), LOSS) == pytest.approx(expected, rel=1e-9)


def test_weights_that_do_not_count_add_nothing() -> None:
    network = nn.ModuleDict({"used": perceptron(), "idle": nn.Linear(4, 4).double()})
    network.forward = network["used"].forward  # type: ignore[method-assign]
    assert Snip()(network, *samples(), LOSS) == Snip()(network["used"], *samples(), LOSS)


def test_a_network_without_weights_is_refused() -> None:
    network = nn.BatchNorm1d(4).double()
    with pytest.raises(UsageError) as error:
        Snip()(network, *samples(), LOSS)
    one_sentence(str(error.value), "'snip'", "convolutions")


def test_a_loss_that_is_not_finite_ranks_last() -> None:
    assert Snip()(perceptron(), *samples(), lambda a, b: LOSS(a, b) * math.inf) == -math.inf
