"""Stop rules: when a gradient search has gone far enough, before it collapses."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["EigenvalueStop", "SkipStop", "StopRule", "dominant_eigenvalue"]


class StopRule(ABC):
    """Asked at the end of each epoch, with what the monitor has measured in all of them.

    Attributes:
        needs_eigenvalue: Whether the monitor has to measure the dominant eigenvalue.
    """

    needs_eigenvalue = False

    @abstractmethod
    def stops(self, epochs: Sequence[dict[str, Any]]) -> bool:
        """Whether the search ends after the last of these epochs."""

    def chosen(self, epochs: Sequence[dict[str, Any]]) -> int:
        """Which epoch's decode counts then, from 0; the last by default."""
        return len(epochs) - 1


class SkipStop(StopRule):
    """Ends when a cell has that many skip connections (DARTS+, Liang et al. 2019, 1909.06035).

    Args:
        most: Skip connections of one kind of cell; 2 in the paper.
    """

    def __init__(self, most: int = 2) -> None:
        self.most = most

    def stops(self, epochs: Sequence[dict[str, Any]]) -> bool:
        """See :class:`StopRule`."""
        return bool(epochs[-1]["skips"] >= self.most)

    def chosen(self, epochs: Sequence[dict[str, Any]]) -> int:
        """The last epoch before that."""
        return max(0, len(epochs) - 2)


class EigenvalueStop(StopRule):
    """Ends when the dominant eigenvalue of the Hessian rises fast (R-DARTS, Zela et al. 2020).

    Where the mean of the last ``window`` epochs is above 1 / ``ratio`` times the mean of the
    ``window`` epochs that ended ``window`` before, the decode of that earlier epoch counts (arXiv
    1909.09656, section 4.3: window 5, ratio 0.75).

    Args:
        window: Epochs of a mean.
        ratio: Largest share that the earlier mean may be of the later without stopping.
    """

    needs_eigenvalue = True

    def __init__(self, window: int = 5, ratio: float = 0.75) -> None:
        self.window, self.ratio = window, ratio

    def stops(self, epochs: Sequence[dict[str, Any]]) -> bool:
        """See :class:`StopRule`."""
        values = [epoch["eigenvalue"] for epoch in epochs]
        if len(values) < 2 * self.window:
            return False
        later = float(sum(values[-self.window :])) / self.window
        earlier = float(sum(values[-2 * self.window : -self.window])) / self.window
        return later > 0 and earlier / later < self.ratio

    def chosen(self, epochs: Sequence[dict[str, Any]]) -> int:
        """The epoch in which the earlier mean ends."""
        return max(0, len(epochs) - 1 - self.window)


def dominant_eigenvalue(
    gradient: Callable[[], Sequence[Tensor]],
    parameters: Sequence[nn.Parameter],
    generator: torch.Generator,
    iterations: int = 8,
    epsilon: float = 1e-2,
) -> float:
    """The eigenvalue of the Hessian that is largest in size, by power iteration.

    Products with the Hessian are central differences of gradients, so first derivatives suffice:
    ops without second ones, and fused ones, do.

    Args:
        gradient: Of the loss with respect to ``parameters``; the same loss at each call.
        parameters: Where the Hessian is taken; put back bit for bit.
        generator: Of the first direction, on the CPU.
        iterations: Products.
        epsilon: Length of half a difference.

    Returns:
        Its Rayleigh quotient after the last product.
    """
    direction = [
        torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device) for p in parameters
    ]
    before = [p.detach().clone() for p in parameters]
    value = 0.0
    for _ in range(iterations):
        length = torch.sqrt(sum((d.square().sum() for d in direction), torch.zeros(())))
        direction = [d / length.clamp_min(1e-12).to(d.device) for d in direction]
        sides = []
        for sign in (epsilon, -epsilon):
            with torch.no_grad():
                for p, b, d in zip(parameters, before, direction, strict=True):
                    p.copy_(b + sign * d)
            sides.append([g.detach() for g in gradient()])
        with torch.no_grad():
            for p, b in zip(parameters, before, strict=True):
                p.copy_(b)
        product = [(up - down) / (2 * epsilon) for up, down in zip(*sides, strict=True)]
        value = float(sum((p * d).sum() for p, d in zip(product, direction, strict=True)))
        direction = product
    return value
