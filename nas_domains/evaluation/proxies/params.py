"""The proxy ``params``: the size of the network."""

from torch import Tensor, nn

from ...hardware.cost import count_params
from .base import Loss, Proxy


class Params(Proxy):
    """The number of parameters that are trained: with ``flops`` what any proxy must beat."""

    name = "params"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`; the data does not matter."""
        return count_params(network)
