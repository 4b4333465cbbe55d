"""Random changes of a training batch, as pure functions of a generator.

The random numbers come from a CPU generator, a few a sample, so that a resumed run repeats the
same bits whatever device the batch lies on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core.errors import UsageError
from ..core.task import Augment


def shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Moves each image by up to an eighth of its size, reflecting it at the border.

    Args:
        x: Images [B, C, H, W].
        generator: CPU generator; it advances by 2B numbers.

    Returns:
        Images [B, C, H, W]: a random crop of the images padded by H/8 and W/8 (at least 1).
    """
    count, _, height, width = x.shape
    rows = _moved(count, height, generator).to(x.device)
    columns = _moved(count, width, generator).to(x.device)
    sample = torch.arange(count, device=x.device)
    # The indexed dimensions come first: [B, H, W, C].
    moved = x.permute(0, 2, 3, 1)[sample[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2).contiguous()


def _moved(count: int, length: int, generator: torch.Generator) -> Tensor:
    """For each image the source position [count, length] of every row or column."""
    reach = min(max(1, length // 8), length - 1)
    offset = torch.randint(-reach, reach + 1, (count, 1), generator=generator)
    position = (torch.arange(length) + offset).abs()
    return (length - 1) - (length - 1 - position).abs()


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each image left to right with probability one half.

    Args:
        x: Images [B, C, H, W].
        generator: CPU generator; it advances by B numbers.

    Returns:
        Images [B, C, H, W].
    """
    chosen = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(chosen.to(x.device)[:, None, None, None], x.flip(-1), x)


def cutout(x: Tensor, generator: torch.Generator) -> Tensor:
    """Sets a square of half the image's height to zero, which is the training mean.

    DeVries and Taylor 2017: the centre is uniform over the image, the square cut at the border.

    Args:
        x: Images [B, C, H, W].
        generator: CPU generator; it advances by 2B numbers.

    Returns:
        Images [B, C, H, W].
    """
    count, _, height, width = x.shape
    side = max(1, height // 2)
    inside = []
    for length in (height, width):
        start = torch.randint(0, length, (count, 1), generator=generator) - side // 2
        position = torch.arange(length)
        inside.append((position >= start) & (position < start + side))
    hole = (inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(x.device)
    return x.masked_fill(hole, 0.0)


Step = Callable[[Tensor, torch.Generator], Tensor]
"""(x [B, C, ...], CPU generator) -> the same shape."""

STEPS: dict[str, Step] = {
    "shift": shift,
    "flip": flip,
    "cutout": cutout,
}
"""Names of the ``augment`` option, of images."""


@dataclass(frozen=True)
class Chain:
    """Augmentation steps in the order given; satisfies :data:`nas_domains.core.task.Augment`.

    Attributes:
        names: Keys of ``steps``.
        steps: What each name stands for.
    """

    names: tuple[str, ...]
    steps: Mapping[str, Step] = field(default_factory=lambda: STEPS)

    def __call__(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Changes x [B, C, ...]; the labels y [B] stay what they are."""
        for name in self.names:
            x = self.steps[name](x, generator)
        return x, y


def parse_augment(text: str | None, steps: Mapping[str, Step] = STEPS) -> Augment | None:
    """Reads the ``augment`` option.

    Args:
        text: "none", or names of ``steps`` with commas between: "shift,flip".
        steps: What may be named; steps of images where left out.

    Returns:
        The chain, or None where nothing is to be changed.

    Raises:
        UsageError: An unknown name, or one given twice.
    """
    names = tuple(part.strip().lower() for part in str(text or "none").split(","))
    if names == ("none",):
        return None
    for name in names:
        if name not in steps:
            raise UsageError(
                f"augment={text!r} has an unknown step {name!r}: known are {', '.join(steps)}, "
                "or 'none' alone."
            )
        if names.count(name) > 1:
            raise UsageError(f"augment={text!r} names {name} twice: name each step once.")
    return Chain(names, steps)
