"""The proxy ``fisher``: how much the loss depends on each channel."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ...core.errors import UsageError
from .base import Loss, Proxy


class Fisher(Proxy):
    """The Fisher information of the channels that convolutions and linear layers give.

    For a channel with outputs a and gradients g: half the mean over samples of (sum over
    positions of a g)^2. Turner et al. 2020, BlockSwap (arXiv 1906.04113); summed over channels,
    each with the number of its weights, as by Abdelfattah et al. 2021.
    """

    name = "fisher"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`."""
        masks: list[tuple[Tensor, int]] = []

        def mask(module: Any, inputs: Any, output: Tensor) -> Tensor:
            # The gradient of a factor 1 is the sum of a g, whatever comes after.
            channels = 1 if isinstance(module, _ConvNd) else output.dim() - 1
            shape = [n if d in (0, channels) else 1 for d, n in enumerate(output.shape)]
            ones = torch.ones(shape, device=output.device, dtype=output.dtype, requires_grad=True)
            masks.append((ones, module.weight[0].numel()))
            return output * ones

        for module in network.modules():
            if isinstance(module, _ConvNd | nn.Linear):
                module.register_forward_hook(mask)
        value = loss(network(x), y)
        if not masks:
            raise UsageError(
                f"The proxy {self.name!r} needs a network with convolutions or linear layers: use "
                "naswot or jacov."
            )
        found = torch.autograd.grad(value, [m for m, _ in masks], allow_unused=True)
        return float(
            sum(
                n * g.flatten(1).square().mean(0).sum() / 2
                for (_, n), g in zip(masks, found, strict=True)
                if g is not None
            )
        )
