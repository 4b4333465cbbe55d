"""The proxy ``grasp``: how much the flow of gradients depends on each weight."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ...core.errors import UsageError
from .base import Loss, Proxy


class Grasp(Proxy):
    """The sum over weights of -w (H g), of the loss's gradient g and Hessian H.

    Wang et al. 2020, GraSP (arXiv 2002.07376), with the sign and the temperature 1 of Abdelfattah
    et al. 2021. The product H g is the gradient of g·g with the first g held fast.
    """

    name = "grasp"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`.

        Raises:
            UsageError: A layer has no second derivative.
        """
        weights = self.weights(network)
        with _TwiceDifferentiable():
            value = loss(network(x), y)
        try:
            first = torch.autograd.grad(value, weights, create_graph=True, allow_unused=True)
            terms = [(g.detach() * g).sum() for g in first if g is not None]
            total = torch.stack(terms).sum()
            products = torch.autograd.grad(total, weights, allow_unused=True)
        except RuntimeError as error:
            if "derivative" not in str(error) and "double backward" not in str(error):
                raise
            reason = (str(error).splitlines() or [""])[0].rstrip(".")
            raise UsageError(
                f"The proxy {self.name!r} needs layers with a second derivative ({reason}): use "
                "snip or grad_norm."
            ) from None
        return -float(
            sum(
                (w.detach() * h).sum()
                for w, h in zip(weights, products, strict=True)
                if h is not None
            )
        )


class _TwiceDifferentiable(TorchFunctionMode):
    """Computes hard-sigmoid by a function whose second derivative torch knows: it is 0."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is F.hardsigmoid:
            return F.hardtanh(args[0] + 3, 0.0, 6.0) / 6
        return function(*args, **(kwargs or {}))
