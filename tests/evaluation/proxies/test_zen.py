"""The proxy ``zen``."""

import math

import pytest
import torch
from torch import nn

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.proxies.zen import Zen, gaussian
from nas_domains.testing.proxies import ProxyContract, batch
from tests.make import one_sentence

from .small import LOSS, perceptron, samples


class TestZen(ProxyContract):
    proxy = Zen
    reads_data = reads_weights = False


def score(*layers: nn.Module) -> float:
    return Zen()(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), *batch(), LOSS)


def test_the_scale_of_a_norm_gives_back_what_it_takes() -> None:
    # Of one channel the norm divides by exactly what its term adds again; a second one divides
    # by 1, for it gets what is normed.
    plain = score(nn.Conv2d(3, 1, 3))
    normed = score(nn.Conv2d(3, 1, 3), nn.BatchNorm2d(1))
    twice = score(nn.Conv2d(3, 1, 3), nn.BatchNorm2d(1), nn.BatchNorm2d(1, affine=False))
    assert normed == pytest.approx(plain, abs=0.05) and twice == pytest.approx(plain, abs=0.05)


def test_depth_and_width_score_higher() -> None:
    def network(width: int, depth: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for i in range(depth):
            c = 3 if i == 0 else width
            layers += [nn.Conv2d(c, width, 3), nn.BatchNorm2d(width), nn.ReLU()]
        return layers

    assert score(*network(4, 1)) < score(*network(8, 1)) < score(*network(8, 2))


def test_a_linear_map_moves_as_far_as_its_noise() -> None:
    # One weight of size w moves each of 3 x 16 x 16 values by 0.01 |w| times that of a Gaussian.
    network = nn.Sequential(nn.Conv2d(3, 3, 1, groups=3, bias=False), nn.AdaptiveAvgPool2d(1))
    values = [Zen()(network, *batch(64), LOSS, seed=seed) for seed in range(20)]
    mean = sum(math.exp(v) for v in values) / 20
    assert mean == pytest.approx(0.01 * (2 / math.pi) * 768, rel=0.3)
    assert len(set(values)) == 20


def test_a_norm_of_nothing_is_passed_over() -> None:
    dead = nn.Conv2d(3, 2, 1, bias=False)

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.alive, self.dead, self.norm = nn.Conv2d(3, 2, 3), dead, nn.BatchNorm2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.norm(self.dead(torch.zeros_like(x)))
            return self.alive(x)

    assert math.isfinite(score(Half()))


def test_all_weights_become_gaussian() -> None:
    network = nn.Sequential(nn.Conv2d(30, 40, 3), nn.BatchNorm2d(40), nn.GroupNorm(2, 40))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 7.0)
    gaussian(network)
    weight = network[0].weight
    assert abs(float(weight.mean())) < 0.05 and abs(float(weight.std()) - 1) < 0.05
    for module in (network[1], network[2]):
        assert bool((module.weight == 1).all()) and bool((module.bias == 0).all())
    assert bool((network[0].bias == 0).all())


def test_a_network_without_maps_is_refused() -> None:
    with pytest.raises(UsageError) as error:
        Zen()(perceptron(), *samples(), LOSS)
    one_sentence(str(error.value), "'zen'", "convolutions")
