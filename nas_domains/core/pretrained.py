"""Spaces whose networks start from weights that are there already."""

from abc import abstractmethod
from typing import Any

from torch import nn

from .space import SearchSpace


class PretrainedSpace(SearchSpace):
    """A space of the parts of one trained network.

    Its :meth:`build` gives a part of that network with its weights, not a fresh one. As these have
    seen the whole training split, paths of its supernet learn on all of it and are scored on the
    validation split.
    """

    by_recipe = True

    @abstractmethod
    def prepare(self, context: Any) -> None:
        """Fits the network to the task and decides which of its parts come first.

        Called before a run plans, and again when it resumes, where it reads what it left.

        Args:
            context: The :class:`nas_domains.evaluation.context.Context` of the run; where networks
                are to learn from the whole one, its ``teacher`` is set.
        """

    @abstractmethod
    def adopt(self, supernet: nn.Module) -> None:
        """Builds from the weights of a trained supernet of this space from now on."""
