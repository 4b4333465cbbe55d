"""The proxy ``snip``: how much the loss depends on each weight."""

from torch import Tensor, nn

from .base import Loss, Proxy


class Snip(Proxy):
    """The sum over weights of |w dL/dw|: what the loss changes by, to first order, without w.

    Lee et al. 2019, SNIP (arXiv 1810.02340), summed as by Abdelfattah et al. 2021.
    """

    name = "snip"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`."""
        return float(sum((w * g).abs().sum() for w, g in self.gradients(network, x, y, loss)))
