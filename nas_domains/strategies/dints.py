"""The strategy of the space ``dints``."""

from collections.abc import Sequence

from ..core.errors import UsageError
from ..core.objective import Objective
from ..core.space import SearchSpace
from .gradient import Gradient

__all__ = ["Dints"]


class Dints(Gradient):
    """A gradient strategy whose losses know topologies; the decode is the space's own."""

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """See :meth:`Gradient.check`; the space must be one of topologies."""
        if space.strategy != self.name:
            raise UsageError(
                f"The strategy {self.name!r} searches topologies, which the space {space.name!r} "
                "does not have: use --space dints, or --strategy auto."
            )
        super().check(space, objectives)
