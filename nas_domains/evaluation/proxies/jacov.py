"""The proxy ``jacov``: how unlike the Jacobians of the inputs are."""

import math

import numpy as np
from torch import Tensor, nn

from .base import Loss, Proxy
from .jacobian import SMALL, batch_jacobian, correlations


class Jacov(Proxy):
    """-sum over i of (log(v_i + k) + 1 / (v_i + k)), of the eigenvalues v of the correlations.

    The correlations are those between the Jacobians of the batch's inputs. Mellor et al. 2021,
    Neural Architecture Search without Training, in its first version (arXiv 2006.04647v1).
    """

    name = "jacov"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`; targets do not matter."""
        matrix = correlations(batch_jacobian(network, x))
        if not np.isfinite(matrix).all():
            return -math.inf
        values = np.linalg.eigvalsh(matrix) + SMALL
        return -float(np.sum(np.log(values) + 1 / values))
