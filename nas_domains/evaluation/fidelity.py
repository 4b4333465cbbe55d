"""A cheaper view of a task: a share of its training samples, and of its resolution."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..core.evaluate import Fidelity
from ..core.seeds import generator
from ..core.task import Split, Task
from .context import Context
from .stream import gather

LEAST_SIDE = 4
"""Pixels or voxels of the shortest side."""


def reduced(context: Context, fidelity: Fidelity) -> Context:
    """The context of trials at a fidelity: that of the run, on a cheaper task.

    Which samples are used depends on the run's seed alone, so that all trials see the same. The
    validation split stays whole, at the trial's resolution.

    Args:
        context: Of the run.
        fidelity: Its epochs do not matter here.

    Returns:
        The context itself where both shares are 1.

    Raises:
        UsageError: As :func:`reduced_shape`.
    """
    task = context.task
    shape = reduced_shape(task, fidelity)
    if fidelity.data == 1 and shape == task.input_shape:
        return context
    train, val = task.train, task.val
    if fidelity.data < 1:
        order = torch.randperm(len(train), generator=generator(context.seed, "fidelity", "data"))
        # Batch norm needs two samples.
        number = min(max(2, round(fidelity.data * len(train))), len(train))
        train = PartOf(train, sorted(order[:number].tolist()))
    if shape != task.input_shape:
        # Whole samples that go through the network slice by slice keep their slices.
        across = getattr(task.infer, "axis", None)
        train, val = (Resized(split, fidelity.resolution, across) for split in (train, val))
    return replace(context, task=replace(task, train=train, val=val, input_shape=shape))


def reduced_shape(task: Task, fidelity: Fidelity) -> tuple[int, ...]:
    """The shape of one input at a fidelity.

    Raises:
        UsageError: A resolution for inputs without sides, or one that leaves too few pixels.
    """
    if fidelity.resolution == 1:
        return task.input_shape
    if len(task.input_shape) < 3:
        raise UsageError(
            f"The inputs of {task.name!r} are no images or volumes, so the fidelity's "
            f"resolution={fidelity.resolution} does not fit: leave it out."
        )
    channels, *sides = task.input_shape
    smaller = [round(fidelity.resolution * side) for side in sides]
    if min(smaller) < LEAST_SIDE:
        raise UsageError(
            f"The fidelity's resolution={fidelity.resolution} leaves {min(smaller)} of "
            f"{min(sides)} pixels of {task.name!r}: use at least {LEAST_SIDE / min(sides):.2g}."
        )
    return (channels, *smaller)


Draw = Callable[[Sequence[int], torch.Generator], tuple[Any, Tensor]]
"""See :class:`nas_domains.core.task.Split`."""


class PartOf:
    """Some samples of a split.

    Args:
        split: Where samples come from.
        indices: Of the samples, in order.
    """

    def __init__(self, split: Split, indices: Sequence[int]) -> None:
        self.split, self.indices = split, list(indices)
        self.repeats = getattr(split, "repeats", 1)

    @property
    def draw(self) -> Draw | None:
        """That of the split, of these samples; None where it has none."""
        draw = getattr(self.split, "draw", None)
        if draw is None:
            return None
        return lambda indices, random: draw([self.indices[i] for i in indices], random)

    def ready(self, drawn: bool, indices: Sequence[int] | None = None) -> None:
        """See :meth:`nas_domains.data.volumes.Volumes.ready`; of these samples."""
        ready = getattr(self.split, "ready", None)
        if ready is not None:
            ready(drawn, self.indices if indices is None else [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.split[self.indices[index]]

    def batch(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        """See :class:`nas_domains.core.task.Split`."""
        return gather(self.split, [self.indices[i] for i in indices])


class Resized:
    """A split whose inputs are made smaller, by the mean of what a pixel or voxel covers.

    Args:
        split: Where samples come from.
        share: Of each side that is left.
        across: The side of a whole volume that stays as it is; None for none.
    """

    def __init__(self, split: Split, share: float, across: int | None = None) -> None:
        self.split, self.share, self.across = split, share, across
        self.repeats = getattr(split, "repeats", 1)

    @property
    def draw(self) -> Draw | None:
        """That of the split, made smaller; None where it has none."""
        draw = getattr(self.split, "draw", None)
        return (
            None if draw is None else lambda indices, random: self._smaller(*draw(indices, random))
        )

    def ready(self, drawn: bool, indices: Sequence[int] | None = None) -> None:
        """See :meth:`nas_domains.data.volumes.Volumes.ready`."""
        ready = getattr(self.split, "ready", None)
        if ready is not None:
            ready(drawn, indices)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Any:
        x, y = self.split[index]
        x, y = self._smaller(torch.as_tensor(x)[None], torch.as_tensor(y)[None])
        return x[0], y[0]

    def batch(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        """See :class:`nas_domains.core.task.Split`."""
        x, y = gather(self.split, indices)
        return self._smaller(torch.as_tensor(x), torch.as_tensor(y))

    def _smaller(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        whole = x.shape[2:]
        sides = [max(LEAST_SIDE, round(self.share * side)) for side in whole]
        if self.across is not None and len(whole) == 3:
            sides[self.across] = whole[self.across]
        if y.dim() > len(whole) and y.shape[-len(whole) :] == whole:
            # A class for each pixel: that of the nearest one.
            for axis, (old, new) in enumerate(zip(whole, sides, strict=True)):
                at = ((torch.arange(new) + 0.5) * old / new).long()
                y = y.index_select(y.dim() - len(whole) + axis, at)
        pool: Any = {
            1: nn.functional.adaptive_avg_pool1d,
            2: nn.functional.adaptive_avg_pool2d,
            3: nn.functional.adaptive_avg_pool3d,
        }[len(sides)]
        return pool(x, sides), y
