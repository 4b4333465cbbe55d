"""What an edge has made sure of, so that it is not asked again while nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from ..ops.backend import choice, native_module
from ..ops.direct import DirectEdge, dense

_unchanged: Any = getattr(native_module(), "unchanged", None)

_OF_NORMS = ("affine", "eps", "momentum", "track_running_stats", "training")
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class Snapshot:
    """The weights, norms and hooks of an edge, and the backend, as they were when looked at.

    Objects are compared, which a compiled function does in one call: the modules of an edge lie
    apart in memory, and to ask each of them in Python takes as long as a small edge computes.

    Args:
        dtype: Of the weights.
        device: Of the weights.
        convolutions: Whose weights are taken.
        norms: Whose settings and running statistics are taken.
        hooks: Containers that are empty.

    Attributes:
        weights: Those of the convolutions.
        lies: Where they lie, None where they are not dense.
        running_lies: Where the running means, the variances and the numbers of batches lie, None
            where they are not dense.
        moved: These tensors, where training moves them.
        edges: What computes on that memory, for x of each shape seen; None where it cannot.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        device: torch.device,
        convolutions: Sequence[nn.Conv2d],
        norms: Sequence[_BatchNorm],
        hooks: Sequence[dict[int, Any]],
    ) -> None:
        self._dtype, self._device, self._choice = dtype, device, choice()
        rows: list[tuple[dict[str, Any], str]] = [
            (vars(c)["_parameters"], "weight") for c in convolutions
        ]
        for norm in norms:
            rows += [(vars(norm), name) for name in _OF_NORMS]
            rows += [(norm._buffers, name) for name in _BUFFERS]
        self._dicts = tuple(own for own, _ in rows)
        self._keys = tuple(name for _, name in rows)
        self._values = tuple(own[name] for own, name in rows)
        # Each registered hook has a handle of its own number: none is new while none was given.
        self._hooks, self._handles = tuple(hooks), RemovableHandle.next_id
        self.weights: list[Any] = list(self._values[: len(convolutions)])
        self.edges: dict[tuple[int, ...], DirectEdge | None] = {}
        self.lies = dense(self.weights, dtype)
        running: list[list[Any]] = [[n._buffers[name] for n in norms] for name in _BUFFERS]
        kinds = dtype, dtype, torch.int64
        lies = [dense(row, kind) for row, kind in zip(running, kinds, strict=True)]
        found = [one for one in lies if one is not None]
        self.running_lies = found if len(found) == len(lies) else None
        tracks = any(n.training and n.track_running_stats for n in norms)
        self.moved: tuple[Any, ...] = tuple(t for row in running for t in row) if tracks else ()
        # What a tensor holds may be exchanged, so that it begins elsewhere.
        self._tensors: tuple[Any, ...] = ()
        self._begins: tuple[int, ...] = ()
        self._dense: tuple[Any, ...] = ()
        if self.lies is not None:
            self._tensors = self._dense = tuple(self.weights)
            self._begins = self.lies.begins
        if self.running_lies is not None:
            for row, one in zip(running, self.running_lies, strict=True):
                self._tensors, self._begins = (*self._tensors, *row), (*self._begins, *one.begins)

    def holds(self, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether all is as it was; False where nothing is compiled that can tell.

        Args:
            dtype: That the weights should have. The first of them tells where all were moved.
            device: Where they should be.
        """
        if _unchanged is None or choice() != self._choice:
            return False
        if dtype is not self._dtype or device != self._device:
            return False
        if self.weights:
            first = self.weights[0]
            if first.dtype is not dtype or first.device != device:
                return False
        if RemovableHandle.next_id != self._handles:
            if any(self._hooks):
                return False
            self._handles = RemovableHandle.next_id
        found: bool = _unchanged(
            self._dicts, self._keys, self._values, self._tensors, self._begins, self._dense
        )
        return found
