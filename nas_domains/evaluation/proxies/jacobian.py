"""What the proxies on the Jacobian of a batch share."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...core.errors import UsageError

SMALL = 1e-5
"""Added to eigenvalues and correlations before a logarithm, as published."""

Matrix = npt.NDArray[np.float64]


def batch_jacobian(network: nn.Module, x: Tensor) -> Matrix:
    """The gradient of the sum of each sample's outputs by that sample.

    Args:
        network: In training mode.
        x: Inputs [B, ...]; instead of tokens count the vectors that the network looks up for them.

    Returns:
        [B, values of a sample]; zeros where the output does not depend on the input.

    Raises:
        UsageError: Inputs that are no real numbers, and for which no vectors are looked up.
    """
    if x.is_floating_point():
        source: Tensor | None = x.requires_grad_(True)
        output = network(x)
    else:
        with _LookedUp(x.shape) as tokens:
            output = network(x)
        source = tokens.vectors
    if source is None:
        raise UsageError(
            f"The proxies jacov and epe_nas differentiate by the input, which is of {x.dtype} "
            "here and does not pass torch's embedding: use others, such as snip or grad_norm."
        )
    # A cell may cut the output off from the input.
    (found,) = torch.autograd.grad(output.sum(), source, allow_unused=True, materialize_grads=True)
    rows: Any = found.flatten(1).double().cpu().numpy()
    return np.asarray(rows)


class _LookedUp(TorchFunctionMode):
    """Keeps the vectors that are looked up first for as many tokens as a shape has."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape = shape
        self.vectors: Tensor | None = None

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        output = function(*args, **given)
        if function is nn.functional.embedding and self.vectors is None:
            ids = args[0] if args else given["input"]
            if ids.shape == self.shape:
                # A start of its own, as the weights may be frozen.
                output = self.vectors = output.detach().requires_grad_(True)
        return output


def correlations(rows: Matrix) -> Matrix:
    """The correlation of each row with each, [N, N]; NaN of a row that is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(rows))
