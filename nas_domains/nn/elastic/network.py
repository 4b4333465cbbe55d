"""The supernet made of elastic layers."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from ...core.architecture import Architecture
from ..cell import lay_out
from .base import Elastic, plain

Sizes = Mapping[str, Mapping[str, int]]
"""Name of an elastic layer in a network -> what :meth:`Elastic.activate` is given."""


class ElasticNetwork(nn.Module):
    """Holds every architecture of a space in the weights of the largest.

    It runs one architecture at a time, at first the largest. It has no architecture parameters:
    which path a step takes is for the strategy to draw.

    Args:
        body: The network, with elastic layers at their largest.
        sizes: From an architecture to the sizes of the layers that it uses.
    """

    def __init__(self, body: nn.Module, sizes: Callable[[Architecture], Sizes]) -> None:
        super().__init__()
        self.body = body
        self.sizes = sizes
        self._path: Architecture | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, outputs]."""
        out: Tensor = self.body(x)
        return out

    def set_architecture(self, architecture: Architecture | None) -> None:
        """Runs one architecture from now on; None is the largest."""
        modules = {name: m for name, m in self.body.named_modules() if isinstance(m, Elastic)}
        if architecture is None:
            for module in modules.values():
                module.activate()
        else:
            for name, sizes in self.sizes(architecture).items():
                modules[name].activate(**sizes)
        self._path = architecture

    def extract(self, architecture: Architecture) -> nn.Module:
        """The plain network of an architecture, with a copy of the shared weights."""
        before = self._path
        self.set_architecture(architecture)
        network = plain(self.body)
        self.set_architecture(before)
        lay_out(network)
        return network.train(self.training)

    def architecture_parameters(self) -> list[nn.Parameter]:
        """None: nothing here weighs architectures against each other."""
        return []

    def weight_parameters(self) -> list[nn.Parameter]:
        """The shared weights of the network."""
        return list(self.body.parameters())
