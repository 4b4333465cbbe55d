"""Splits of labelled volumes that differ in size, prepared once and kept in memory."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..core.seeds import derive
from .decathlon import Case

CACHE_BYTES = 4 << 30
"""Prepared volumes of one split that are kept in memory; others are read each time."""


class Prepare(Protocol):
    """Reads cases and brings them to the form that networks take, and scores back."""

    def __call__(self, case: Case, /) -> tuple[Tensor, Tensor]:
        """x float32 [C, ...] and class numbers y uint8 [...], the same each time."""
        ...

    def original(self, case: Case, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [1, K, ...] of a prepared case, and its classes [1, ...], as its files lie."""
        ...


class Patcher(Protocol):
    """Cuts patches of one shape."""

    def fixed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The same patch of (x [C, ...], y [...]) each time."""
        ...

    def places(self, y: Tensor) -> Any:
        """Where patches of a volume of these classes may lie: found once, as that takes time."""
        ...

    def draw(self, x: Tensor, y: Tensor, places: Any, seed: int) -> tuple[Tensor, Tensor]:
        """A patch at one of the places, changed at random, from the seed only."""
        ...


class Volumes:
    """A split of volumes; satisfies :class:`nas_domains.core.task.Split`.

    Args:
        cases: Where the volumes lie.
        prepare: Reads a case and brings it to the form that networks take.
        patcher: Cuts the patches of training.
        cache_bytes: Memory for prepared volumes; the first ones are kept.
        repeats: Patches of each case that an epoch takes.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        prepare: Prepare,
        patcher: Patcher,
        cache_bytes: int = CACHE_BYTES,
        repeats: int = 1,
    ) -> None:
        self.cases = list(cases)
        self.prepare, self.patcher = prepare, patcher
        self.room, self.repeats = cache_bytes, repeats
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._places: dict[int, Any] = {}
        self._full = False

    @property
    def names(self) -> list[str]:
        """The names of the cases."""
        return [case.name for case in self.cases]

    @property
    def groups(self) -> list[str] | None:
        """The patient of each case, where several may be of one."""
        patients = [case.patient for case in self.cases]
        return patients if any(patients) else None

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]:
        """The whole volume x float32 [C, ...] and its classes y int64 [...]."""
        x, y = self._whole(index)
        return x, y.long()

    def ready(self, drawn: bool, indices: Sequence[int] | None = None) -> None:
        """Prepares what there is room for, so that nothing that is timed next waits for it.

        Args:
            drawn: Whether patches will be drawn: the places they may lie at are found too.
            indices: Of what will be used; all where None.
        """
        for index in range(len(self)) if indices is None else indices:
            if index not in self._kept and not self._full:
                self._whole(index)
            if drawn and index in self._kept:
                self._placed(index, self._kept[index][1])

    def __getstate__(self) -> dict[str, Any]:
        """Another process prepares its own."""
        room = self.room + sum(x.nbytes + y.nbytes for x, y in self._kept.values())
        return vars(self) | {"_kept": {}, "_places": {}, "_full": False, "room": room}

    def original(self, index: int, output: Tensor) -> tuple[Tensor, Tensor]:
        """Output [1, K, ...] for a whole volume, and its classes [1, ...], as its files lie."""
        return self.prepare.original(self.cases[index], output.cpu())

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A fixed patch of each: x float32 [B, C, ...] and y int64 [B, ...]."""
        return _stack([self.patcher.fixed(*self._whole(i)) for i in indices])

    def draw(self, indices: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A patch of each at random, from the generator only; see :meth:`batch`."""
        start = int(torch.randint(2**62, (), generator=generator))
        return _stack([self._patch(i, derive(start, n)) for n, i in enumerate(indices)])

    def _patch(self, index: int, seed: int) -> tuple[Tensor, Tensor]:
        x, y = self._whole(index)
        return self.patcher.draw(x, y, self._placed(index, y), seed)

    def _placed(self, index: int, y: Tensor) -> Any:
        if index not in self._places:
            self._places[index] = self.patcher.places(y)
        return self._places[index]

    def _whole(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Sample {index} of {len(self)}")
        index %= len(self)
        if index in self._kept:
            return self._kept[index]
        x, y = self.prepare(self.cases[index])
        size = x.nbytes + y.nbytes
        if size <= self.room:
            self.room -= size
            self._kept[index] = x, y
        else:
            self._full = True
        return x, y


def _stack(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs]).long()
