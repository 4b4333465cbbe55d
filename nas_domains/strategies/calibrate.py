"""One-shot search without training, in weights that are trained already."""

from collections.abc import Sequence

from ..core.budget import Budget
from ..core.errors import UsageError
from ..core.evaluate import Fidelity
from ..core.history import SEARCH
from ..core.objective import Objective
from ..core.pretrained import PretrainedSpace
from ..core.space import SearchSpace
from ..evaluation.context import Context
from ..evaluation.supernet import SupernetEvaluator
from ..evaluation.timing import seconds_each
from .base import Plan
from .blackbox import draw
from .oneshot import OneShot


class Calibrate(OneShot):
    """Evolution over parts of a pretrained network, each scored with the weights as they are.

    See :class:`OneShot` for the arguments; what they say of training does not count.
    """

    units = ("trials",)

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """See :meth:`Strategy.check`; the space must be pretrained."""
        super().check(space, objectives)
        if not isinstance(space, PretrainedSpace):
            raise UsageError(
                f"The strategy {self.name!r} trains nothing, and the weights of the space "
                f"{space.name!r} begin at random: use --strategy ofa."
            )

    def plan(self, context: Context, budget: Budget) -> Plan:
        """Trials for a time, or ``trials=N``; see :meth:`Strategy.plan`."""
        counts = budget.only(*self.units)
        if budget.seconds is None:
            return {"steps": 0, "trials": counts.get("trials", self.settings.trials)}
        training = self.training(context, steps=0)
        evaluator = SupernetEvaluator(context, training.supernet, self.settings.samples)
        each = seconds_each(
            lambda i: evaluator(draw(context, SEARCH, i), Fidelity(0)),
            least=2,
            seconds=0.04 * budget.seconds,
        )
        return {"steps": 0, "trials": budget.fit(each)}
