"""A perceptron in float64, small enough to write each proxy out by its definition."""

import torch
from torch import Tensor, nn

from nas_domains.evaluation.proxies.base import Loss

LOSS: Loss = nn.functional.cross_entropy


def perceptron(seed: int = 0) -> nn.Sequential:
    """4 -> 3 -> 2, with a bend that has all derivatives."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()


def samples(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Five inputs and their classes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((5, 4), generator=generator, dtype=torch.float64)
    return x, torch.tensor([0, 1, 1, 0, 1])


def weighted_loss(network: nn.Sequential, first: Tensor, second: Tensor) -> Tensor:
    """The loss on :func:`samples` with other weights of the two layers."""
    x, y = samples()
    weights = {"0.weight": first, "2.weight": second}
    return LOSS(torch.func.functional_call(network, weights, (x,)), y)
