"""Batches by number: the batch of a step depends on the seed and the step, on nothing else."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from ..core.seeds import generator
from ..core.task import Split


def gather(split: Split, indices: Sequence[int]) -> tuple[Any, Tensor]:
    """The samples of a split as one batch, by its own ``batch`` where it has one."""
    batch = getattr(split, "batch", None)
    if batch is not None:
        x, y = batch(indices)
    else:
        x, y = default_collate([split[i] for i in indices])
    return x, y


class Stream:
    """An endless, shuffled stream of batches over a split.

    Every sample comes once an epoch, save the rest that does not fill a batch; as often as the
    split's ``repeats`` says where it has that. Asking for step s needs no iterator that could be
    rebuilt at the wrong time.

    Args:
        split: Where samples come from.
        batch_size: Samples a batch; all of them where the split is smaller.
        seed: Seed of the order.
        indices: The part of the split that is used; all of it where None.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, indices: Sequence[int] | None = None
    ) -> None:
        self.split = split
        chosen = torch.as_tensor(range(len(split)) if indices is None else indices)
        self.indices = chosen.repeat(getattr(split, "repeats", 1))
        self.batch_size = min(batch_size, len(self.indices))
        self.steps_per_epoch = len(self.indices) // self.batch_size
        self.seed = seed
        self._epoch = -1
        self._order = self.indices

    def batch(self, step: int) -> tuple[Any, Tensor]:
        """The batch of a step, counted from the start of the stream."""
        return gather(self.split, self.at(step))

    def at(self, step: int) -> list[int]:
        """The numbers of the samples in the batch of a step."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            shuffle = torch.randperm(
                len(self.indices), generator=generator(self.seed, "order", epoch)
            )
            self._order = self.indices[shuffle]
            self._epoch = epoch
        start = position * self.batch_size
        chosen: list[int] = self._order[start : start + self.batch_size].tolist()
        return chosen
