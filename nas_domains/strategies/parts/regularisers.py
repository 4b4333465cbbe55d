"""Regularisers: what is added to the loss of architecture parameters."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...core.objective import Objective
from ...nn.relaxation import Dirichlet
from ...nn.relaxed import RelaxedSupernet
from .costs import CostRows

__all__ = ["BetaDecay", "Entropy", "ExpectedCost", "PriorDistance", "Regulariser"]


class Regulariser(ABC):
    """Called in each architecture step; its value is added to the validation loss."""

    @abstractmethod
    def __call__(self, supernet: RelaxedSupernet, share: float) -> Tensor:
        """A scalar, differentiable in the architecture parameters.

        Args:
            supernet: The supernet.
            share: How much of the search is done, 0 to 1.
        """


class BetaDecay(Regulariser):
    """Keeps architecture parameters from growing apart (beta-DARTS, Ye et al. 2022).

    The mean over edges of log sum exp of the parameters, arXiv 2203.01665, equation 9, times a
    scale that grows linearly from zero.

    Args:
        scale: At the end of the search.
    """

    def __init__(self, scale: float = 50.0) -> None:
        self.scale = scale

    def __call__(self, supernet: RelaxedSupernet, share: float) -> Tensor:
        """See :class:`Regulariser`."""
        rows = [torch.logsumexp(supernet.parameters_of(kind), -1) for kind in supernet.alphas]
        return self.scale * share * torch.cat(rows).mean()


class Entropy(Regulariser):
    """Makes weights decide: their entropy, times a scale that grows linearly from zero.

    Args:
        scale: At the end of the search.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, supernet: RelaxedSupernet, share: float) -> Tensor:
        """See :class:`Regulariser`."""
        rows = [
            torch.special.entr(supernet.relaxation.expected(supernet.parameters_of(kind))).sum(-1)
            for kind in supernet.alphas
        ]
        return self.scale * share * torch.cat(rows).mean()


class PriorDistance(Regulariser):
    """KL divergence of the Dirichlet distributions from the uniform one (DrNAS).

    Args:
        scale: Its weight; 1e-3 in Chen et al. 2021, arXiv 2006.10355.
    """

    def __init__(self, scale: float = 1e-3) -> None:
        self.scale = scale

    def __call__(self, supernet: RelaxedSupernet, share: float) -> Tensor:
        """See :class:`Regulariser`."""
        total = torch.zeros(())
        for kind in supernet.alphas:
            divergence = _divergence(supernet.parameters_of(kind))
            total = total.to(divergence.device) + divergence.mean()
        return self.scale * total


def _divergence(parameters: Tensor) -> Tensor:
    """KL divergence [E] of each row's Dirichlet from the uniform one, over what is left."""
    kept = parameters.isfinite()
    one = torch.where(kept, Dirichlet.concentration(parameters), 1)
    total = (kept * one).sum(1)
    spread = (kept * (one - 1) * (one.digamma() - total.digamma()[:, None])).sum(1)
    # The logarithm of gamma is 0 at 1, of what was dropped and of the uniform one.
    found: Tensor = total.lgamma() - one.lgamma().sum(1) - kept.sum(1).to(one).lgamma() + spread
    return found


class ExpectedCost(Regulariser):
    """Pushes the mean cost under its limits, in the sense of ProxylessNAS (Cai et al. 2019).

    ``scale`` times the share by which each limit is exceeded by the mean cost of architectures
    whose candidates are drawn by the weights. Zero where limits are kept: what is cheap enough is
    left to the task's loss.

    Args:
        rows: Metric -> its rows.
        limits: Objectives with a limit on those metrics.
        scale: Weight of the excess.
    """

    def __init__(
        self, rows: Mapping[str, CostRows], limits: Sequence[Objective], scale: float = 1.0
    ) -> None:
        self.rows, self.limits, self.scale = rows, limits, scale

    def __call__(self, supernet: RelaxedSupernet, share: float) -> Tensor:
        """See :class:`Regulariser`."""
        weights = {
            kind: supernet.relaxation.expected(supernet.parameters_of(kind))
            for kind in supernet.alphas
        }
        total = torch.zeros(())
        for objective in self.limits:
            assert objective.limit is not None
            mean = self.rows[objective.metric].expected(weights)
            total = total.to(mean.device) + (mean / objective.limit - 1).clamp_min(0)
        return self.scale * total
