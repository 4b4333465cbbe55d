"""The base of all zero-cost proxies."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...core.errors import UsageError
from ...core.seeds import derive

Loss = Callable[[Tensor, Tensor], Tensor]
"""(output [B, ...], y) -> scalar mean over the batch."""


class Proxy(ABC):
    """Scores an untrained network by one batch; higher is better.

    A strategy or a :class:`ProxyEvaluator` calls it like a function; a proxy implements
    :meth:`score`, which gets a copy of the network and may do with it what it likes.

    Attributes:
        name: Under which it is registered.
    """

    name: ClassVar[str]

    def __call__(
        self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss, *, seed: int = 0
    ) -> float:
        """The score of a network, which is left bit-equal, as are the global generators.

        Args:
            network: Freshly initialised, on the device of x; scored in training mode.
            x: Inputs [B, ...], finite, B >= 2.
            y: Targets [B, ...].
            loss: (output, y) -> scalar.
            seed: Of all that is random.

        Returns:
            The score; minus infinity where it is NaN or infinite.

        Raises:
            UsageError: Fewer than two samples, inputs that are not finite, or a network that this
                proxy cannot score.
        """
        if len(x) < 2 or len(x) != len(y):
            raise UsageError(
                f"The proxy {self.name!r} needs two samples or more and a target for each, not "
                f"{len(x)} and {len(y)}: give it a larger batch."
            )
        if not torch.isfinite(x).all():
            raise UsageError(
                f"The batch of the proxy {self.name!r} holds NaN or infinite inputs: clean the "
                "data first."
            )
        devices = [x.device] if x.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            torch.manual_seed(derive(seed, "proxy", self.name))
            # Its own copies, for a proxy may change weights, modes and layers.
            value = float(self.score(copy.deepcopy(network).train(), x.clone(), y, loss))
        return value if math.isfinite(value) else -math.inf

    @abstractmethod
    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """The score, from torch's global generator as its only source of randomness.

        Args:
            network: In training mode, to change at will.
            x: Inputs [B, ...].
            y: Targets [B, ...].
            loss: (output, y) -> scalar.
        """

    def weights(self, network: nn.Module) -> list[nn.Parameter]:
        """The parameters of two dimensions or more: of convolutions and linear layers.

        Raises:
            UsageError: There are none.
        """
        found = [p for p in network.parameters() if p.requires_grad and p.dim() >= 2]
        if not found:
            raise UsageError(
                f"The proxy {self.name!r} needs a network with convolutions or linear layers that "
                "are trained: use naswot or jacov."
            )
        return found

    def gradients(
        self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss
    ) -> list[tuple[Tensor, Tensor]]:
        """(weight, gradient of the loss) of all weights that the loss depends on."""
        weights = self.weights(network)
        found = torch.autograd.grad(loss(network(x), y), weights, allow_unused=True)
        return [(w.detach(), g) for w, g in zip(weights, found, strict=True) if g is not None]
