"""Relaxations: how architecture parameters weigh the candidates of a supernet."""

from collections.abc import Callable

import torch
from torch import Tensor

Relaxation = Callable[[Tensor], Tensor]
"""Architecture parameters [E, K] -> weights [E, K] of the candidates."""


def softmax(parameters: Tensor) -> Tensor:
    """Continuous relaxation of DARTS (Liu et al. 2019): each row sums to one."""
    return torch.softmax(parameters, dim=-1)
