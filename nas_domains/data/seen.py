"""Images as a pretrained encoder saw them: its channels, its size, its normalisation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ..core.errors import UsageError
from .images import ImageParts, Images

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Seen:
    """What a checkpoint was pretrained on.

    Attributes:
        size: Height and width.
        mean: Of each channel, as a fraction of full scale.
        std: Standard deviation of each channel, likewise.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class SeenImages(Images):
    """Images that are brought to other channels and another size when they are needed.

    Args:
        base: The images.
        size: Height and width.
        channels: 1 for grey, 3 for RGB.
        source: What they are called in errors.
    """

    def __init__(self, base: Images, size: tuple[int, int], channels: int, source: str) -> None:
        super().__init__(base.labels, channels, base.scale, base.groups)
        self.base, self.size, self.channels, self.source = base, size, channels, source

    def raw(self, indices: Sequence[int]) -> npt.NDArray[Any]:
        """See :meth:`Images.raw`.

        Raises:
            UsageError: Channels that are neither grey nor RGB.
        """
        stored = with_channels(self.source, self.base.raw(indices), self.channels)
        return resized(stored, self.size)


def as_seen(parts: ImageParts, seen: Seen, source: str) -> ImageParts:
    """The splits as a checkpoint saw images.

    Values that are no fractions of full scale keep their own normalisation.

    Args:
        parts: The splits.
        seen: What the checkpoint saw; with the size that is asked for.
        source: What the images are called in errors.

    Raises:
        UsageError: Channels that are neither grey nor RGB.
    """
    channels = len(seen.mean)
    mean, std = seen.mean, seen.std
    if parts.values != "unit":
        own = parts.train.mean, parts.train.std
        mean, std = (tuple(v[c % len(v)] for c in range(channels)) for v in own)
    found: dict[str, Any] = {}
    for name in ("train", "val", "test"):
        images = SeenImages(getattr(parts, name), seen.size, channels, source)
        images.raw([0])
        found[name] = images.normalised(mean, std)
    said = f"Images are given as {channels} channels of {seen.size[0]}x{seen.size[1]}."
    return replace(parts, **found, notes=(*parts.notes, said))


def with_channels(where: str, images: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """Images [N, H, W, C] as grey or RGB.

    Raises:
        UsageError: They have other channels, and another number than asked for.
    """
    stored = images.shape[3]
    if stored == channels:
        return images
    if stored == 1 and channels == 3:
        return np.repeat(images, 3, axis=3)
    if stored == 3 and channels == 1:
        return (images.astype(np.float32) @ np.array(_LUMA, np.float32))[..., None]
    raise UsageError(f"{where} has {stored} channels, but the network was trained on {channels}.")


def resized(images: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Images [N, H, W, C] at another size, bilinear; as they are where they have it."""
    if images.shape[1:3] == size:
        return images
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32))
    resized = functional.interpolate(x, size, mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1).numpy()
