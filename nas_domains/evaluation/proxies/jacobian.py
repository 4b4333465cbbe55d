"""What the proxies on the Jacobian of a batch share."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

SMALL = 1e-5
"""Added to eigenvalues and correlations before a logarithm, as published."""

Matrix = npt.NDArray[np.float64]


def batch_jacobian(network: nn.Module, x: Tensor) -> Matrix:
    """The gradient of the sum of each sample's outputs by that sample.

    Args:
        network: In training mode.
        x: Inputs [B, ...].

    Returns:
        [B, values of a sample].
    """
    x.requires_grad_(True)
    (found,) = torch.autograd.grad(network(x).sum(), x)
    rows: Any = found.flatten(1).double().cpu().numpy()
    return np.asarray(rows)


def correlations(rows: Matrix) -> Matrix:
    """The correlation of each row with each, [N, N]; NaN of a row that is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(rows))
