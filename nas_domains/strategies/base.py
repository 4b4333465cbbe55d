"""The base of all strategies."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from ..core.budget import Budget
from ..core.errors import UsageError
from ..core.history import Record
from ..core.objective import Objective
from ..core.space import SearchSpace
from ..evaluation.context import Context
from ..evaluation.select import choose

Plan = dict[str, Any]
"""An exact amount of search, e.g. {"steps": 600} or {"trials": 40, "epochs": 10}.

Where trials have a time it is {"trials": 40, "seconds": 12.5}, and "each" holds how many epochs
that was in another run.
"""


class Strategy(ABC):
    """A named composition that fills a run's history.

    ``search()`` in :mod:`nas_domains.compose` calls :meth:`check` before anything is spent,
    :meth:`plan` once (a resumed run reads its plan instead) and :meth:`search`, again after a
    kill or after the batch was halved.

    Attributes:
        needs_supernet: Whether the space must have a supernet.
        keeps_limits: Whether limits among the objectives are kept.
        goals: How many objectives without limits it can weigh.
        units: What an exact budget may count.
        usual: The budget where none is given.
        worth: What :meth:`worths` are, in words; "" where the goal's score.
    """

    needs_supernet = False
    keeps_limits = True
    goals = 99
    units: tuple[str, ...] = ("trials", "epochs")
    usual = "trials=10"
    worth = ""

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """Refuses what it cannot do.

        Raises:
            UsageError: The space has no supernet, or an objective that it cannot honour.
        """
        if self.needs_supernet and not space.has_supernet:
            raise UsageError(
                f"The strategy {self.name!r} needs a supernet, which the space {space.name!r} "
                "does not have: use --strategy random."
            )
        limits = [o for o in objectives if o.limit is not None]
        if limits and not self.keeps_limits:
            raise UsageError(
                f"The strategy {self.name!r} cannot keep the limit {str(limits[0])!r}: use "
                "--strategy random, or leave the limit out."
            )
        if len(objectives) - len(limits) > self.goals:
            raise UsageError(
                f"The strategy {self.name!r} takes {self.goals} goal, not "
                f"{', '.join(str(o) for o in objectives if o.limit is None)}: use "
                "--strategy random, or name one."
            )

    @abstractmethod
    def plan(self, context: Context, budget: Budget) -> Plan:
        """Turns a budget into an exact plan; a time by timing a few steps on throw-away copies."""

    @abstractmethod
    def search(self, context: Context, plan: Plan) -> None:
        """Adds records to ``context.history`` under the stage "search", from where they end."""

    def restart(self, context: Context) -> None:
        """Undoes what a search has left outside the record and the checkpoints; nothing here.

        Called where memory ran out and the search begins anew with a smaller batch.
        """
        return

    def worths(self, context: Context, records: Sequence[Record]) -> list[float]:
        """What each record is worth as the search sees it, larger is better: the goal's score.

        Asked where a winner is chosen and explained.
        """
        return [context.goal.score(r.metrics) for r in records]

    def choose(self, context: Context, records: Sequence[Record]) -> Record:
        """The record of the search that wins; see :func:`nas_domains.evaluation.select.choose`."""
        return choose(context, records, self.worths(context, records))
