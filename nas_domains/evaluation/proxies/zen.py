"""The proxy ``zen``: how far the features move when the input does."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd

from ...core.errors import UsageError
from .base import Loss, Proxy

STEP = 0.01
"""Scale of the noise that is added to the input, as published."""
POOLS = (_AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)


class Zen(Proxy):
    """log of the mean change of the features, plus log of each batch norm's scale.

    Weights and inputs are Gaussian; the features are the last map before the sides are pooled
    away; a norm's scale is the root of the mean over channels of the variance it divides by.
    Without batch norms, only the first term is left. A norm whose input is constant (behind edges
    without a connection) scales nothing and is passed over.
    Lin et al. 2021, Zen-NAS (arXiv 2102.01063).
    """

    name = "zen"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`; of the data only the shape matters."""
        gaussian(network)
        features: list[Tensor] = []
        scales: list[float] = []

        def keep(module: Any, inputs: Any, output: Any) -> None:
            # Maps have the input's sides; later ones take the place of earlier ones.
            if isinstance(output, Tensor) and output.dim() == x.dim() >= 3:
                features[:] = [output.clone()]

        def measure(module: Any, inputs: tuple[Tensor, ...]) -> None:
            sides = [d for d in range(inputs[0].dim()) if d != 1]
            scales.append(float(inputs[0].var(sides, correction=0).mean()))

        for module in network.modules():
            if not list(module.children()) and not isinstance(module, POOLS):
                module.register_forward_hook(keep)
            if isinstance(module, _BatchNorm):
                module.register_forward_pre_hook(measure)
        with torch.no_grad():
            first = torch.randn_like(x)
            network(first)
            if not features:
                raise UsageError(
                    f"The proxy {self.name!r} needs a network of convolutions, whose features "
                    "have sides: use synflow or naswot."
                )
            before, variances = features[0], list(scales)
            network(first + STEP * torch.randn_like(x))
            change = float((features[0] - before).abs().flatten(1).sum(1).mean())
        terms = [change, *(math.sqrt(v) for v in variances if v > 0)]
        return sum(math.log(t) for t in terms) if change > 0 else -math.inf


def gaussian(network: nn.Module) -> None:
    """Sets weights to standard Gaussian draws, biases to 0 and the weights of norms to 1."""
    with torch.no_grad():
        for module in network.modules():
            weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
            if isinstance(module, _ConvNd | nn.Linear):
                nn.init.normal_(module.weight)
            elif isinstance(module, _BatchNorm | nn.GroupNorm) and weight is not None:
                nn.init.ones_(weight)
            else:
                continue
            if bias is not None:
                nn.init.zeros_(bias)
