"""The proxy ``fisher``."""

import pytest
import torch
from torch import nn

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.proxies.fisher import Fisher
from nas_domains.testing.proxies import ProxyContract
from tests.make import one_sentence

from .small import LOSS, samples


class TestFisher(ProxyContract):
    proxy = Fisher


def test_it_is_half_the_mean_square_of_activations_times_gradients() -> None:
    torch.manual_seed(0)
    conv, linear = nn.Conv1d(1, 3, 2).double(), nn.Linear(9, 2).double()
    # In place: what comes later must not change what a layer gave.
    network = nn.Sequential(
        nn.Unflatten(1, (1, 4)), conv, nn.ReLU(inplace=True), nn.Flatten(), linear
    )
    x, y = samples()
    a = conv(x[:, None])
    b = linear(a.relu().flatten(1))
    grads = torch.autograd.grad(LOSS(b, y), [a, b])
    of_conv = (a * grads[0]).sum(2).square().mean(0).sum() / 2
    of_linear = (b * grads[1]).square().mean(0).sum() / 2
    # Each channel counts with the number of its weights.
    expected = float((of_conv * 2 + of_linear * 9).detach())
    assert Fisher()(network, x, y, LOSS) == pytest.approx(expected, rel=1e-9)


def test_the_tokens_of_a_linear_layer_are_its_positions() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(2, 2).double()
    network = nn.Sequential(nn.Unflatten(1, (2, 2)), linear, nn.AvgPool1d(2), nn.Flatten())
    x, y = samples()
    a = linear(x.reshape(5, 2, 2))
    (g,) = torch.autograd.grad(LOSS(a.mean(2), y), [a])
    expected = float((a * g).sum(1).square().mean(0).sum().detach())
    assert Fisher()(network, x, y, LOSS) == pytest.approx(expected, rel=1e-9)


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(UsageError) as error:
        Fisher()(nn.BatchNorm1d(4).double(), *samples(), LOSS)
    one_sentence(str(error.value), "'fisher'")
