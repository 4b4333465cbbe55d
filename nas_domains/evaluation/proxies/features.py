"""Scores by proxies as what a predictor learns from."""

from ...core.architecture import Architecture
from ...core.evaluate import Fidelity, Metrics
from ...core.seeds import derive
from ..context import Context
from .evaluator import ProxyEvaluator
from .joint import TRUSTED

UNTRAINED = Fidelity(0)


class ProxyFeatures:
    """An architecture's scores by proxies and its counted costs, each found once.

    They depend on the run's seed and the architecture alone, so that a resumed run, which finds
    them again, learns from the same.

    Args:
        context: Of the run.
        names: Of registered proxies.
    """

    def __init__(self, context: Context, names: tuple[str, ...] = TRUSTED) -> None:
        self._evaluator = ProxyEvaluator(context, names)
        self._known: dict[Architecture, Metrics] = {}

    def __call__(self, architecture: Architecture) -> Metrics:
        """The score of each proxy, ``params`` and ``macs``; None where one is not finite."""
        if architecture not in self._known:
            trial = derive(0, architecture.to_json())
            self._known[architecture] = self._evaluator(architecture, UNTRAINED, trial=trial)
        return self._known[architecture]
