"""Splits of images: arrays in memory, or files decoded when they are needed."""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .decode import decode
from .splits import Groups, Labels

CACHE_BYTES = 1 << 30
"""Decoded files of one task that are kept in memory."""

_CHUNK = 256
_CHUNK_VALUES = 1 << 24
"""Images, and values of them, that are looked at together."""
_WORKERS = 4

Self = TypeVar("Self", bound="Images")


class Images:
    """Labelled images, normalised by channel; the base of both kinds.

    Attributes:
        labels: Class numbers int64 [N].
        groups: Group of each image [N], or None.
        mean: Mean of each channel, in units of ``scale``; zeros until :meth:`normalised`.
        std: Standard deviation of each channel, likewise; ones until :meth:`normalised`.
    """

    def __init__(
        self, labels: Labels, channels: int, scale: float, groups: Groups | None = None
    ) -> None:
        self.labels = labels
        self.groups = groups
        self.scale = scale
        self.mean: tuple[float, ...] = (0.0,) * channels
        self.std: tuple[float, ...] = (1.0,) * channels

    def raw(self, indices: Sequence[int]) -> npt.NDArray[Any]:
        """The stored pixels [B, H, W, C] of some images."""
        raise NotImplementedError

    def scaled(self, indices: Sequence[int]) -> npt.NDArray[np.float32]:
        """Pixels float32 [B, H, W, C] as fractions of full scale, where they have one."""
        return self.raw(indices).astype(np.float32) * np.float32(1 / self.scale)

    def normalised(self: Self, mean: Sequence[float], std: Sequence[float]) -> Self:
        """The same images, normalised by the given channel mean and standard deviation."""
        other = copy.copy(self)
        other.mean, other.std = tuple(mean), tuple(std)
        return other

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Some samples at once.

        Args:
            indices: Sample numbers [B].

        Returns:
            x float32 [B, C, H, W] and y int64 [B].
        """
        index = np.asarray(indices, dtype=np.int64)
        stored = self.raw(index.tolist())
        if stored.dtype != np.uint8:
            stored = stored.astype(np.float32)
        # Bytes are turned to channels-first before they grow to floats.
        x = torch.from_numpy(stored).movedim(-1, 1).contiguous().to(torch.float32)
        shape = (-1, *(1,) * (x.dim() - 2))
        mean = torch.tensor(self.mean).reshape(shape) * self.scale
        std = torch.tensor(self.std).reshape(shape) * self.scale
        return x.sub_(mean).mul_(1 / std), torch.from_numpy(self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Sample {index} of {len(self)}")
        x, y = self.batch([index % len(self)])
        return x[0], int(y[0])


class ArrayImages(Images):
    """Images in one array.

    Args:
        images: Pixels [N, H, W, C], or [N, D, H, W, C] of volumes, of any integer or float type,
            kept as they are.
        labels: Class numbers int64 [N].
        scale: What pixels are divided by: 255 for uint8, 65535 for uint16, else 1.
        groups: Group of each image [N], or None.
    """

    def __init__(
        self,
        images: npt.NDArray[Any],
        labels: Labels,
        scale: float = 1.0,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(labels, images.shape[-1], scale, groups)
        self.images = images

    def raw(self, indices: Sequence[int]) -> npt.NDArray[Any]:
        """See :meth:`Images.raw`."""
        return self.images[np.asarray(indices, dtype=np.int64)]


class FileImages(Images):
    """Image files, decoded and resized when they are needed and kept while there is room.

    Args:
        paths: Files [N].
        labels: Class numbers int64 [N].
        size: (H, W) that each image is resized to.
        channels: 1 for grey, 3 for RGB.
        deep: Whether pixels are kept as uint16 instead of uint8.
        scale: What pixels are divided by; by default the largest value of their type.
        groups: Group of each image [N], or None.
        cache_bytes: Memory for decoded images; the first ones are kept.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: Labels,
        size: tuple[int, int],
        channels: int,
        *,
        deep: bool = False,
        scale: float | None = None,
        groups: Groups | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        dtype = np.dtype(np.uint16 if deep else np.uint8)
        super().__init__(labels, channels, scale or (65535.0 if deep else 255.0), groups)
        self.paths = list(paths)
        self.size = size
        self.channels = channels
        self.deep = deep
        pixels = size[0] * size[1] * channels
        self.room = min(len(self.paths), cache_bytes // (pixels * dtype.itemsize))
        self._cache = np.empty((self.room, *size, channels), dtype)
        self._known = np.zeros(self.room, bool)

    def raw(self, indices: Sequence[int]) -> npt.NDArray[Any]:
        """See :meth:`Images.raw`.

        Raises:
            UsageError: A file that cannot be decoded.
        """
        out = np.empty((len(indices), *self.size, self.channels), self._cache.dtype)
        missing: list[int] = []
        for row, index in enumerate(indices):
            if index < self.room and self._known[index]:
                out[row] = self._cache[index]
            else:
                missing.append(row)
        for row, image in zip(missing, self._decoded([indices[m] for m in missing]), strict=True):
            out[row] = image
            if indices[row] < self.room:
                self._cache[indices[row]] = image
                self._known[indices[row]] = True
        return out

    def fill(self) -> None:
        """Decodes what will be kept, so that a broken file is found before any training.

        Raises:
            UsageError: A file that cannot be decoded.
        """
        step = _chunk(self.channels * self.size[0] * self.size[1])
        for start in range(0, self.room, step):
            self.raw(range(start, min(start + step, self.room)))

    def _decoded(self, indices: Sequence[int]) -> list[npt.NDArray[Any]]:
        def one(index: int) -> npt.NDArray[Any]:
            return decode(self.paths[index], self.size, self.channels, self.deep)

        if len(indices) < 4:
            return [one(index) for index in indices]
        # Pillow decodes outside the interpreter lock.
        with ThreadPoolExecutor(_WORKERS) as pool:
            return list(pool.map(one, indices))


def _chunk(values: int) -> int:
    """Images of so many values that are looked at together."""
    return max(1, min(_CHUNK, _CHUNK_VALUES // max(1, values)))


def channel_statistics(
    images: Images, limit: int | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel.

    Args:
        images: The training split.
        limit: Largest number of images that are read, evenly spaced; all where None.

    Returns:
        Means and standard deviations, C each, in units of the images' scale; a channel without any
        variation gets a deviation of one.
    """
    n = len(images)
    count = n if limit is None else min(n, limit)
    chosen = [i * n // count for i in range(count)]
    total = 0
    mean: npt.NDArray[np.float64] = np.zeros(len(images.mean))
    squares: npt.NDArray[np.float64] = np.zeros(len(images.mean))
    step = _chunk(images.raw(chosen[:1]).size)
    for start in range(0, count, step):
        x = images.scaled(chosen[start : start + step])
        pixels = x.reshape(-1, x.shape[-1]).astype(np.float64)
        # Chan et al. 1979: joining two means and sums of squared deviations.
        moved = pixels.mean(0) - mean
        size = len(pixels)
        squares += pixels.var(0) * size + moved**2 * total * size / (total + size)
        mean += moved * size / (total + size)
        total += size
    std = np.sqrt(squares / total)
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


@dataclass(frozen=True)
class ImageParts:
    """What an image reader returns: the splits of a classification.

    Attributes:
        train: Training split, normalised by its own channel statistics.
        val: Validation split, normalised alike.
        test: Test split, normalised alike.
        classes: Names of the classes, in the order of the labels.
        values: "unit" where pixels are fractions of full scale, "raw" where they are as stored.
        notes: Sentences for the report.
    """

    train: Images
    val: Images
    test: Images
    classes: tuple[str, ...]
    values: str
    notes: tuple[str, ...]

    @staticmethod
    def normalise(
        parts: dict[str, Images],
        classes: Sequence[str],
        values: str,
        notes: Sequence[str],
        limit: int | None = None,
    ) -> "ImageParts":
        """Normalises train, val and test by the statistics of train (see channel_statistics)."""
        mean, std = channel_statistics(parts["train"], limit)
        train, val, test = (parts[name].normalised(mean, std) for name in ("train", "val", "test"))
        return ImageParts(train, val, test, tuple(classes), values, tuple(notes))
