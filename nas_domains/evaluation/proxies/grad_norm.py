"""The proxy ``grad_norm``: how large the gradients are."""

from torch import Tensor, nn

from .base import Loss, Proxy


class GradNorm(Proxy):
    """The sum over weights of the Euclidean norm of the loss's gradient.

    Abdelfattah et al. 2021, Zero-Cost Proxies for Lightweight NAS (arXiv 2101.08134).
    """

    name = "grad_norm"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`."""
        return float(sum(g.norm() for _, g in self.gradients(network, x, y, loss)))
