"""Relaxations: how architecture parameters weigh the candidates of a supernet.

A relaxation turns parameters [E, K] into weights [E, K], one row an edge. Some draw: each call in
training is another draw, from torch's global generator, which the training loop sets for each
step. :meth:`Relaxation.expected` gives the weights without chance, which decoding reads.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import UsageError

__all__ = ["Dirichlet", "Gates", "Gumbel", "Relaxation", "Softmax", "Weights"]


@dataclass(frozen=True)
class Weights:
    """Weights of the candidates of all edges of one kind.

    Attributes:
        values: [E, K], differentiable in the parameters.
        active: [E, n] whole numbers on the CPU: the candidates that run on each edge; None where
            all do.
    """

    values: Tensor
    active: Tensor | None = None


class Relaxation(ABC):
    """From architecture parameters to weights.

    A supernet calls it in each forward of training, and :meth:`expected` in evaluation and to
    decode; a strategy calls :meth:`advance` before each step.

    Attributes:
        samples: Whether few candidates of an edge run in a step, so that shared weights learn to
            stand alone and a decoded architecture is scored alone too.
        share: How much of the search is done, 0 to 1.
    """

    samples = False
    share = 0.0

    @abstractmethod
    def __call__(self, parameters: Tensor, *, architecture: bool) -> Weights:
        """The weights of one step.

        Args:
            parameters: [E, K]; minus infinity where a candidate has been dropped.
            architecture: Whether the step is one of the architecture parameters.
        """

    def expected(self, parameters: Tensor) -> Tensor:
        """The weights [E, K] without chance; the softmax where a relaxation has no others."""
        return torch.softmax(parameters, dim=-1)

    def advance(self, share: float) -> None:
        """Tells how much of the search is done, for what is annealed."""
        self.share = share


class Softmax(Relaxation):
    """Continuous relaxation of DARTS (Liu et al. 2019): each row sums to one.

    Args:
        noise: Half width of the uniform noise that weights get in weight steps at the end of the
            search; a tenth of it at the start (SDARTS-RS, Chen & Hsieh 2020, arXiv 2002.05283,
            who use 0.3): weights trained under it tell candidates apart where the loss is flat.
    """

    def __init__(self, noise: float = 0.0) -> None:
        if not 0 <= noise <= 1:
            raise UsageError(f"noise={noise} is not possible: use 0 to 1.")
        self.noise = noise

    def __call__(self, parameters: Tensor, *, architecture: bool) -> Weights:
        """See :class:`Relaxation`."""
        weights = self.expected(parameters)
        if self.noise > 0 and not architecture:
            width = self.noise * (0.1 + 0.9 * self.share)
            spread = torch.empty_like(weights).uniform_(-width, width)
            # A dropped candidate stays at zero.
            weights = weights + spread * (weights > 0)
            weights = weights.clamp_min(0)
            weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        return Weights(weights)


class Gumbel(Relaxation):
    """Gumbel-softmax, whose temperature falls linearly (Jang et al. 2017; Dong & Yang 2019).

    Soft, all candidates run. Hard (GDAS, arXiv 1910.04465), only the one of the largest weight
    does, with weight one; the gradient is that of the soft weight (straight through).

    Args:
        hard: Whether one candidate runs.
        start: Temperature at the start.
        end: Temperature at the end.
    """

    def __init__(self, hard: bool = True, start: float = 10.0, end: float = 0.1) -> None:
        if not (start > 0 and end > 0):
            raise UsageError(f"The temperatures {start} to {end} are not possible: use above 0.")
        self.hard, self.start, self.end = hard, start, end
        self.samples = hard

    @property
    def temperature(self) -> float:
        """The present temperature."""
        return self.start + self.share * (self.end - self.start)

    def __call__(self, parameters: Tensor, *, architecture: bool) -> Weights:
        """See :class:`Relaxation`."""
        gumbels = -torch.empty_like(parameters).exponential_().log()
        logits = torch.log_softmax(parameters, dim=-1)
        soft = torch.softmax((logits + gumbels) / self.temperature, dim=-1)
        if not self.hard:
            return Weights(soft)
        chosen = soft.argmax(dim=-1, keepdim=True)
        return Weights(_straight_through(soft, chosen), chosen.cpu())


class Dirichlet(Relaxation):
    """Weights drawn from a Dirichlet distribution (DrNAS, Chen et al. 2021, arXiv 2006.10355).

    Its concentration is elu(parameters) + 1; the gradient goes through the draw.
    """

    def __call__(self, parameters: Tensor, *, architecture: bool) -> Weights:
        """See :class:`Relaxation`."""
        kept = parameters > -torch.inf
        drawn = torch.distributions.Dirichlet(self.concentration(parameters)).rsample()
        weights = torch.where(kept, drawn, torch.zeros_like(drawn))
        return Weights(weights / weights.sum(dim=-1, keepdim=True))

    def expected(self, parameters: Tensor) -> Tensor:
        """The mean of the distribution."""
        kept = parameters > -torch.inf
        concentration = self.concentration(parameters) * kept
        return concentration / concentration.sum(dim=-1, keepdim=True)

    @staticmethod
    def concentration(parameters: Tensor) -> Tensor:
        """elu(parameters) + 1, [E, K]; of a dropped candidate too small to matter."""
        finite = parameters.clamp_min(-20.0)
        return torch.nn.functional.elu(finite) + 1 + 1e-6


class Gates(Relaxation):
    """Binary gates (ProxylessNAS, Cai et al. 2019, arXiv 1812.00332).

    A weight step runs one candidate of an edge, drawn by the softmax. An architecture step draws
    two, as in the paper's section 3.2.1 for one loss with a gradient: both run, the gate of one of
    them is open, and the gradient of the gates goes to the softmax over the two.
    """

    samples = True

    def __call__(self, parameters: Tensor, *, architecture: bool) -> Weights:
        """See :class:`Relaxation`."""
        probabilities = torch.softmax(parameters, dim=-1)
        possible = int((parameters > -torch.inf).sum(dim=-1).min())
        if not architecture or possible < 2:
            chosen = torch.multinomial(probabilities.detach(), 1)
            return Weights(_straight_through(probabilities, chosen), chosen.cpu())
        # Added a little, so that a candidate whose probability has become zero can still be drawn.
        floor = (parameters > -torch.inf) * 1e-9
        two = torch.multinomial(probabilities.detach() + floor, 2)
        among = torch.softmax(parameters.gather(-1, two), dim=-1)
        open_gate = two.gather(-1, torch.multinomial(among.detach(), 1))
        soft = torch.zeros_like(probabilities).scatter(-1, two, among)
        return Weights(_straight_through(soft, open_gate), two.cpu())


def _straight_through(soft: Tensor, chosen: Tensor) -> Tensor:
    """One at the chosen place of each row and zero elsewhere, with the gradient of ``soft``."""
    hard = torch.zeros_like(soft).scatter(-1, chosen, 1.0)
    return hard + soft - soft.detach()
