"""The proxy ``synflow``: how much flows through the network's absolute weights."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from .base import Loss, Proxy

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


class SynFlow(Proxy):
    """log of the sum over weights of |w dR/dw|; R is the summed output of absolute weights.

    All parameters are made positive, the input is one sample of ones (or the tokens of one, whose
    vectors are made positive too), and norms are taken out, so that no path cancels another.
    Tanaka et al. 2020 (arXiv 2006.05467), summed as by Abdelfattah et al. 2021, in float64 for the
    range. Where nothing reaches the output it is minus infinity.
    """

    name = "synflow"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`; of the data only tokens matter."""
        network = without_norms(network).double()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_()
        tokens = not x.is_floating_point()
        ones = x[:1] if tokens else torch.ones_like(x[:1], dtype=torch.float64)
        total = sum(
            (w * g).abs().sum()
            for w, g in self.gradients(network, ones, y[:1], lambda output, _: output.sum())
        )
        return math.log(total) if total > 0 else -math.inf


def without_norms(network: nn.Module) -> nn.Module:
    """The network with every norm of torch replaced, in place, by the identity."""
    if isinstance(network, NORMS):
        return nn.Identity()
    for name, child in network.named_children():
        setattr(network, name, without_norms(child))
    return network
