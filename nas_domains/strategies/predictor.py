"""The black-box strategy whose trainings a predictor selects."""

import time

import numpy as np
import optuna

from ..core.history import SEARCH
from ..core.limit import Limit
from ..core.seeds import derive
from ..evaluation.context import Context
from ..evaluation.proxies.features import ProxyFeatures
from ..evaluation.timing import EpochTime
from .blackbox import BlackBox, at_once, draw
from .pruner import EpochPruner
from .samplers.predicted import POOL, Predicted


class Predictor(BlackBox):
    """Trained architectures teach a predictor, which selects what is trained next.

    It learns from the choices, from proxies on one batch of the training split, and from counted
    costs; see :class:`Predicted`.

    Args:
        name: Registered name.
        predictor: Name of a registered predictor.
        pruner: Makes what stops trials early.
    """

    def __init__(
        self, name: str, predictor: str, *, pruner: type[EpochPruner] | None = None
    ) -> None:
        super().__init__(name, Predicted, goals=1, pruner=pruner)
        self.predictor = predictor

    def make_sampler(self, context: Context, limit: Limit | None) -> optuna.samplers.BaseSampler:
        """See :meth:`BlackBox.make_sampler`; the sampler may ask for proxies."""
        return Predicted(
            context.space,
            seed=derive(context.seed, SEARCH, "sampler"),
            limit=limit,
            predictor=self.predictor,
            scores=ProxyFeatures(context),
        )

    def _seconds(self, context: Context, budget: float) -> tuple[list[EpochTime], float]:
        """See the base; a trial's pool is scored by proxies before it begins."""
        epochs, setup = super()._seconds(context, budget)
        scores, times = ProxyFeatures(context), []
        for trial in range(4):
            began = time.perf_counter()
            scores(draw(context, "proxies", trial))
            times.append(time.perf_counter() - began)
        # One process proposes, while others train.
        return epochs, setup + POOL * at_once(context) * float(np.mean(times))
