"""The proxy ``flops``: the work of the network."""

from torch import Tensor, nn

from ...hardware.cost import macs_of
from .base import Loss, Proxy


class Flops(Proxy):
    """Floating-point operations of one input, two for each multiply-accumulate.

    Convolutions and products as torch's flop counter knows them: with ``params`` what any proxy
    must beat.
    """

    name = "flops"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`; the data does not matter."""
        return 2 * macs_of(network, x[:1])
