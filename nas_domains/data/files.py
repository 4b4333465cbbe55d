"""Labelled files: what they have in common, and the splits of those that are images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import UsageError
from .decode import Header, decode, read_header
from .images import CACHE_BYTES, FileImages, ImageParts, Images
from .kinds import IMAGES, FileKind
from .labels import encode_labels, numeric_classes
from .rule import SplitRule, complete_splits
from .splits import Groups, Indices, Labels

LARGEST = 224
"""Longer side that images are reduced to where no size is asked for."""

_SAMPLE = 64
_STATISTICS = 2000
_GREY_TOLERANCE = 8
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""How splits are called in folders and tables."""


@dataclass(frozen=True)
class LabelledFiles:
    """Files as a folder or a table lists them, in their sorted order.

    Attributes:
        source: What they are called in errors.
        paths: Files [N].
        labels: Class names [N].
        parts: Split of each file [N]: train, val or test.
        groups: Group of each file [N], or None.
        notes: Sentences for the report.
    """

    source: str
    paths: list[str]
    labels: list[str]
    parts: list[str]
    groups: list[str] | None = None
    notes: tuple[str, ...] = ()

    def numbered(self) -> tuple[dict[str, Indices], Labels, tuple[str, ...]]:
        """The files of each split that is given, the number of each file's class, and the names.

        Raises:
            UsageError: Labels that cannot be used; see :func:`encode_labels`.
        """
        part_of = np.array(self.parts)
        given = {name: np.flatnonzero(part_of == name) for name in ("train", "val", "test")}
        given = {name: index for name, index in given.items() if len(index)}
        names = numeric_classes(np.array(self.labels))
        encoded, classes = encode_labels(self.source, {n: names[i] for n, i in given.items()})
        labels = np.empty(len(names), np.int64)
        for name, index in given.items():
            labels[index] = encoded[name]
        return given, labels, classes


def read_files(
    files: LabelledFiles, rule: SplitRule, seed: int, size: tuple[int, int] | None
) -> ImageParts:
    """Makes the splits of image files.

    Every header is read now. Files are decoded now as far as they are kept in memory (1 GiB), else
    when they are needed. Channel statistics come from at most 2,000 training images.

    Args:
        files: The files.
        rule: How splits that are not given are cut.
        seed: Seed of the cut.
        size: (H, W) of the images, or None for the median size, at most 224.

    Raises:
        UsageError: A broken file, or labels and splits that cannot be used.
    """
    given, labels, classes = files.numbered()
    groups: Groups | None = None if files.groups is None else np.array(files.groups)
    splits, notes = complete_splits(files.source, labels, given, rule, seed, groups=groups)

    headers = [read_header(path) for path in files.paths]
    shape = size or median_size(headers)
    channels = _channels(files.paths, headers, shape)
    deep = channels == 1 and any(header.deep for header in headers)
    parts: dict[str, Images] = {}
    for name, index in splits.items():
        part = FileImages(
            [files.paths[i] for i in index],
            labels[index],
            shape,
            channels,
            deep=deep,
            groups=None if groups is None else groups[index],
            cache_bytes=CACHE_BYTES * len(index) // len(files.paths),
        )
        part.fill()
        parts[name] = part
    return ImageParts.normalise(
        parts,
        classes,
        "unit",
        (*files.notes, *notes, _describe(headers, shape, channels, asked=size is not None)),
        _STATISTICS,
    )


def median_size(headers: Sequence[Header]) -> tuple[int, int]:
    """Median height and width, in proportion reduced until neither exceeds 224."""
    height, width = np.median([header.size for header in headers], axis=0)
    factor = min(1.0, LARGEST / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _channels(paths: Sequence[str], headers: Sequence[Header], size: tuple[int, int]) -> int:
    """1 where all files are grey, also those stored as RGB (64 of which are looked at)."""
    coloured = [path for path, header in zip(paths, headers, strict=True) if not header.grey]
    count = min(len(coloured), _SAMPLE)
    for i in range(count):
        pixels = decode(coloured[i * len(coloured) // count], size, 3, False).astype(np.int16)
        # Lossy compression makes the channels of a grey image differ a little.
        if np.abs(pixels - pixels[:, :, :1]).max() > _GREY_TOLERANCE:
            return 3
    return 1


def _describe(
    headers: Sequence[Header], size: tuple[int, int], channels: int, *, asked: bool
) -> str:
    sizes = {header.size for header in headers}
    colour = "grey" if channels == 1 else "RGB"
    if sizes == {size}:
        return f"Images are read as {colour}, {_written(size)} as stored."
    why = "as asked" if asked else f"their median, at most {LARGEST}"
    smallest, largest = _written(min(sizes)), _written(max(sizes))
    stored = smallest if len(sizes) == 1 else f"{smallest} to {largest}"
    return (
        f"Images are read as {colour} and resized from {stored} to {_written(size)} ({why}), "
        "without keeping proportions."
    )


def _written(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def image_files(folder: str) -> list[str]:
    """All image files below a folder; see :func:`files_below`."""
    return files_below(folder, IMAGES)


def files_below(folder: str, kind: FileKind) -> list[str]:
    """All files of a kind below a folder, sorted; hidden files and folders are passed over.

    Raises:
        UsageError: The folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise UsageError(f"No permission to read {error.filename!r}.") from None

    found: list[str] = []
    for base, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not hidden(name)]
        found += [os.path.join(base, n) for n in names if kind.matches(n) and not hidden(n)]
    return sorted(found)


def hidden(name: str) -> bool:
    """Whether an operating system or a packer left that name (.DS_Store, __MACOSX)."""
    return name.startswith((".", "__"))


def parse_size(value: object) -> tuple[int, int] | None:
    """Reads the ``size`` option.

    Args:
        value: None, a number of pixels, "HxW" or a pair (H, W).

    Returns:
        (H, W), or None where nothing is asked for.

    Raises:
        UsageError: Anything else.
    """
    if value is None:
        return None
    numbers = value if isinstance(value, (tuple, list)) else str(value).lower().split("x")
    try:
        sides = [int(number) for number in numbers]
    except (TypeError, ValueError):
        sides = []
    if len(sides) == 1:
        sides *= 2
    if len(sides) != 2 or min(sides) < 1 or max(sides) > 4096:
        raise UsageError(
            f"size={value!r} is no image size: write it as 64 or 64x48 (height x width)."
        )
    return sides[0], sides[1]
