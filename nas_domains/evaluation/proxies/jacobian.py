"""What the proxies on the Jacobian of a batch share."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...core.errors import UsageError

SMALL = 1e-5
"""Added to eigenvalues and correlations before a logarithm, as published."""

Matrix = npt.NDArray[np.float64]


def batch_jacobian(network: nn.Module, x: Tensor) -> Matrix:
    """The gradient of the sum of each sample's outputs by that sample.

    Args:
        network: In training mode.
        x: Inputs [B, ...].

    Returns:
        [B, values of a sample]; zeros where the output does not depend on the input.

    Raises:
        UsageError: Inputs that are no real numbers, such as tokens.
    """
    if not x.is_floating_point():
        raise UsageError(
            f"The proxies jacov and epe_nas differentiate by the input, which is of {x.dtype} "
            "here: use others, such as snip or grad_norm."
        )
    x.requires_grad_(True)
    # A cell may cut the output off from the input.
    (found,) = torch.autograd.grad(network(x).sum(), x, allow_unused=True, materialize_grads=True)
    rows: Any = found.flatten(1).double().cpu().numpy()
    return np.asarray(rows)


def correlations(rows: Matrix) -> Matrix:
    """The correlation of each row with each, [N, N]; NaN of a row that is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(rows))
