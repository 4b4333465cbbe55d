"""What all supernets with architecture parameters share: rows of parameters, relaxed."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .relaxation import Relaxation, Softmax

__all__ = ["RelaxedSupernet", "Row", "Some"]

Some = tuple[Tensor, tuple[int, ...]]
"""Weights [K], and the indices of the only candidates that run."""

Row = Tensor | Some
"""The weights [K] of one choice's candidates, all of which run; or those of some."""


class RelaxedSupernet(nn.Module):
    """Architecture parameters of several kinds, each [rows, K], and what they weigh.

    Args:
        shapes: Kind -> (rows, K).

    Attributes:
        relaxation: From architecture parameters to weights.
        architecture_step: Whether the forward is one that architecture parameters learn from.
        alphas: Kind -> parameters [rows, K].
        dropped: Kind -> which candidates are dropped, [rows, K].
    """

    def __init__(self, shapes: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        self.relaxation: Relaxation = Softmax()
        self.architecture_step = True
        self.alphas = nn.ParameterDict(
            {kind: nn.Parameter(1e-3 * torch.randn(shape)) for kind, shape in shapes.items()}
        )
        self.dropped = Dropped(shapes)

    def parameters_of(self, kind: str) -> Tensor:
        """The parameters [rows, K] of a kind, minus infinity where a candidate is dropped."""
        parameters: Tensor = self.alphas[kind]
        return parameters.masked_fill(self.dropped[kind], -torch.inf)

    def rows(self, kind: str) -> list[Row]:
        """The weights of each row of a kind for one forward, differentiable.

        In training the relaxation draws them; in evaluation they are the expected ones.
        """
        if not self.training:
            return list(self.expected(kind).unbind(0))
        drawn = self.relaxation(self.parameters_of(kind), architecture=self.architecture_step)
        values = list(self.scaled(kind, drawn.values).unbind(0))
        if drawn.active is not None:
            active = [tuple(sorted(row)) for row in drawn.active.tolist()]
        else:
            left = self.dropped.active(kind)
            if left is None:
                return list(values)
            active = left
        return list(zip(values, active, strict=True))

    def expected(self, kind: str) -> Tensor:
        """The weights [rows, K] without chance."""
        return self.scaled(kind, self.relaxation.expected(self.parameters_of(kind)))

    def scaled(self, kind: str, weights: Tensor) -> Tensor:
        """Weights [rows, K] times those of their rows, where rows have any."""
        return weights

    def architecture_parameters(self) -> list[nn.Parameter]:
        """The parameters that a gradient strategy turns into an architecture."""
        return list(self.alphas.values())

    def mixed_operations(self) -> Sequence[nn.Module]:
        """The edges of its cells; none where it has no cells of edges."""
        return []

    def strengths(self) -> dict[str, Tensor]:
        """The expected weights of each kind as one detached tensor [rows, K] on the CPU."""
        return {kind: self.expected(kind).detach().float().cpu() for kind in self.alphas}


class Dropped(nn.Module):
    """Which candidates of each kind's rows are dropped, as buffers [rows, K]."""

    def __init__(self, shapes: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        for kind, shape in shapes.items():
            self.register_buffer(kind, torch.zeros(shape, dtype=torch.bool))
        # Kept, as reading them from a GPU at each step would wait for it.
        self._active: dict[str, list[tuple[int, ...]] | None] = {}
        forget: Any = self.register_load_state_dict_post_hook  # untyped in torch
        forget(_forget)

    def __getitem__(self, kind: str) -> Tensor:
        return self._buffers[kind]  # type: ignore[return-value]

    def set(self, kind: str, dropped: Tensor) -> None:
        """Drops the candidates where ``dropped`` [rows, K] is true, and no others."""
        if dropped.all(dim=1).any():
            raise ValueError("Each row keeps one candidate at least.")
        self[kind].copy_(dropped)
        self._active.clear()

    def active(self, kind: str) -> list[tuple[int, ...]] | None:
        """The candidates left in each row; None where none is dropped."""
        if kind not in self._active:
            rows = (~self[kind]).tolist()
            left = [tuple(k for k, kept in enumerate(row) if kept) for row in rows]
            self._active[kind] = None if all(map(all, rows)) else left
        return self._active[kind]


def _forget(module: Dropped, _: Any) -> None:
    module._active.clear()
