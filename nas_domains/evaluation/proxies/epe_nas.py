"""The proxy ``epe_nas``: how the Jacobians of inputs of one class correlate."""

import numpy as np
from torch import Tensor, nn

from ...core.errors import UsageError
from .base import Loss, Proxy
from .jacobian import SMALL, batch_jacobian, correlations

MOST_CLASSES = 100
"""Above as many, scores of classes are compared with each other, as published."""


class EpeNas(Proxy):
    """Sum over classes of |sum of log(|correlation| + k)| between Jacobians of the class.

    Of more than 100 classes each sum is divided by the samples of its class, and the score is the
    mean over classes of the absolute differences to all others. Lopes et al. 2021, EPE-NAS
    (arXiv 2102.08099).
    """

    name = "epe_nas"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`; y are the numbers of classes, [B]."""
        if y.dim() != 1 or y.is_floating_point():
            raise UsageError(
                f"The proxy {self.name!r} needs one class a sample, not targets of shape "
                f"{tuple(y.shape)} and type {y.dtype}: use jacov."
            )
        rows, labels = batch_jacobian(network, x), y.cpu().numpy()
        classes = [rows[labels == label] for label in np.unique(labels)]
        sums = np.array([np.log(np.abs(correlations(c)) + SMALL).sum() for c in classes])
        outputs = network(x[:2]).shape[-1]
        if outputs <= MOST_CLASSES:
            return float(np.abs(sums).sum())
        means = sums / [len(c) for c in classes]
        return float(np.abs(means[:, None] - means).sum() / len(means))
