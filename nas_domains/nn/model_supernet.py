"""The supernet of a person's own model: its OneOfs run one candidate, or all of them weighted."""

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core.architecture import Architecture
from .one_of import OneOf, take
from .relaxation import Relaxation, softmax

if TYPE_CHECKING:
    from .model_space import ModelSpace


class ModelSupernet(nn.Module):
    """Holds every architecture of a model's space in shared weights.

    By default all candidates run, weighted by the relaxed architecture parameters; after
    :meth:`set_architecture` only those of one architecture do. Choices of as many options are
    rows of one parameter [choices, options], whose kind is that number.

    Args:
        space: The space.
        body: The model, whose OneOfs the space has read.
        relaxation: From architecture parameters to weights.
    """

    def __init__(
        self, space: "ModelSpace", body: nn.Module, relaxation: Relaxation = softmax
    ) -> None:
        super().__init__()
        self.space = space
        self.body = body
        self.relaxation = relaxation
        self.alphas = nn.ParameterDict(
            {
                kind: nn.Parameter(1e-3 * torch.randn(len(names), int(kind)))
                for kind, names in space.kinds.items()
            }
        )
        # A tuple, so that they are no submodules a second time.
        self._ones = tuple(m for m in body.modules() if isinstance(m, OneOf))
        self._path: dict[str, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> what the model gives, [B, outputs]."""
        weights = self._path if self._path is not None else self._relaxed()
        for one in self._ones:
            # They stay until the next pass: a checkpointed part runs again in the backward pass.
            one.weights = weights.get(one.choice or "")
        out: Tensor = self.body(x)
        return out

    def _relaxed(self) -> dict[str, Tensor]:
        """The relaxed weights: choice -> [K], differentiable."""
        return {
            name: row
            for kind, names in self.space.kinds.items()
            for name, row in zip(names, self.relaxation(self.alphas[kind]).unbind(0), strict=True)
        }

    def architecture_parameters(self) -> list[nn.Parameter]:
        """The parameters that a gradient strategy turns into an architecture."""
        return list(self.alphas.values())

    def weight_parameters(self) -> list[nn.Parameter]:
        """The shared weights of the model that are trained."""
        return [p for p in self.body.parameters() if p.requires_grad]

    def strengths(self) -> dict[str, Tensor]:
        """The relaxed weights of each kind as one detached tensor [choices, K] on the CPU."""
        return {
            kind: self.relaxation(alpha).detach().float().cpu()
            for kind, alpha in self.alphas.items()
        }

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
        return take(copy.deepcopy(self.body), self.space.architecture(architecture))
