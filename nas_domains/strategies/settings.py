"""What tells one gradient strategy from another."""

from collections.abc import Callable
from dataclasses import dataclass

from ..nn.relaxation import Relaxation, Softmax
from .parts.regularisers import Regulariser
from .parts.stop import SkipStop, StopRule

__all__ = ["GradientSettings"]


@dataclass(frozen=True)
class GradientSettings:
    """Parts and hyper-parameters of a gradient search; the defaults are those of DARTS.

    Liu et al. 2019, arXiv 1806.09055, first order.

    Attributes:
        relaxation: Makes the relaxation of one search.
        partial: Shares of the channels, one of which runs through the candidates (PC-DARTS).
        grow: (share of the search, shares of the channels): when it is reached, the channels are
            cut into so many shares only, one of which runs through the candidates (DrNAS).
        edge_weights: Whether edges have weights of their own (PC-DARTS).
        regularisers: What is added to the loss of an architecture step.
        auxiliary: Whether a second skip connection beside the candidates fades out (DARTS-).
        shrink: (share of the search, candidates): when it is reached, each edge keeps so many of
            its candidates, those of the largest weights.
        stop: Ends the search early.
        perturbation: Whether the end asks which candidate of each edge the supernet misses most
            (DARTS-PT), instead of reading the weights.
        tryout: Whether the end trains what was found, and what lies near, for a few steps.
        second_order: Whether the architecture step looks one weight step ahead.
        warmup: Share of the search in which only weights are trained.
        lr: Peak learning rate of the weights.
        lr_end: Learning rate at the end of the cosine.
        momentum: Of the weights' SGD.
        weight_decay: Of the weights.
        grad_clip: Largest norm of the weights' gradient.
        alpha_lr: Learning rate of Adam on the architecture parameters.
        alpha_travel: How far an architecture parameter can come in the whole search; where given,
            the learning rate is this over the number of steps, so that a short search decides as
            much as a long one. As published, 600 steps of 3e-4 leave weights as they began.
        alpha_betas: Of that Adam.
        alpha_weight_decay: Weight decay of the architecture parameters.
        epsilon: Length of the central difference of the second order. The published value steps
            over kinks of the ReLUs; in float32 a much smaller one drowns in rounding.
        epochs: Epochs where no budget is given.
    """

    relaxation: Callable[[], Relaxation] = Softmax
    partial: int = 1
    grow: tuple[tuple[float, int], ...] = ()
    edge_weights: bool = False
    regularisers: tuple[Regulariser, ...] = ()
    auxiliary: bool = False
    shrink: tuple[tuple[float, int], ...] = ()
    stop: StopRule | None = None
    perturbation: bool = False
    tryout: bool = False
    second_order: bool = False
    warmup: float = 0.0
    lr: float = 0.025
    lr_end: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    grad_clip: float = 5.0
    alpha_lr: float = 3e-4
    alpha_travel: float | None = None
    alpha_betas: tuple[float, float] = (0.5, 0.999)
    alpha_weight_decay: float = 1e-3
    epsilon: float = 0.01
    epochs: int = 50

    @property
    def needs_cells(self) -> bool:
        """Whether a part works on the edges of cells, not on choices of any kind."""
        # Where the end tries out what was found, a search goes without skip connections too.
        skips = self.auxiliary and not self.tryout
        by_edge = self.partial > 1 or self.edge_weights or skips or self.perturbation
        return by_edge or isinstance(self.stop, SkipStop)
