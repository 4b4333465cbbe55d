"""The supernet of a person's own model: its OneOfs run one candidate, or all of them weighted."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..core.architecture import Architecture
from .one_of import OneOf
from .relaxed import RelaxedSupernet, Row

if TYPE_CHECKING:
    from .one_of_space import OneOfSpace


class ModelSupernet(RelaxedSupernet):
    """Holds every architecture of a model's space in shared weights.

    By default all candidates run, weighted by the relaxed architecture parameters; after
    :meth:`set_architecture` only those of one architecture do. Choices of as many options are
    rows of one parameter [choices, options], whose kind is that number.

    Args:
        space: The space.
        body: The model, whose OneOfs the space has read.
    """

    def __init__(self, space: "OneOfSpace", body: nn.Module) -> None:
        super().__init__({kind: (len(names), int(kind)) for kind, names in space.kinds.items()})
        self.space = space
        self.body = body
        # A tuple, so that they are no submodules a second time.
        self._ones = tuple(m for m in body.modules() if isinstance(m, OneOf))
        self._path: dict[str, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> what the model gives, [B, outputs]."""
        weights: Mapping[str, Row | int]
        weights = self._path if self._path is not None else self._relaxed()
        for one in self._ones:
            # They stay until the next pass: a checkpointed part runs again in the backward pass.
            one.weights = weights.get(one.choice or "")
        out: Tensor = self.body(x)
        return out

    def _relaxed(self) -> dict[str, Row]:
        """The relaxed weights, differentiable: choice -> what its OneOfs take."""
        return {
            name: row
            for kind, names in self.space.kinds.items()
            for name, row in zip(names, self.rows(kind), strict=True)
        }

    def weight_parameters(self) -> list[nn.Parameter]:
        """The shared weights of the model that are trained."""
        return [p for p in self.body.parameters() if p.requires_grad]

    def decode(self) -> Architecture:
        """The architecture that the present weights speak for, by the rule of its space."""
        return self.space.decode(self.strengths())

    def set_architecture(self, architecture: Architecture | None) -> None:
        """Runs one architecture alone from now on; None goes back to all, weighted.

        Raises:
            UsageError: An architecture of another space.
        """
        self._path = None
        if architecture is not None:
            chosen = self.space.architecture(architecture)
            self._path = {
                c.name: c.options.index(chosen[c.name])
                for c in self.space.choices
                if c.name in chosen
            }

    def extract(self, architecture: Architecture) -> nn.Module:
        """The plain module of an architecture, with a copy of the shared weights.

        Raises:
            UsageError: An architecture of another space.
        """
        return self.space.plain(copy.deepcopy(self.body), architecture)
