"""One image file to pixels: depth, orientation, channels and size."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ..core.errors import UsageError

SUFFIXES = (
    ".bmp",
    ".gif",
    ".jp2",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
"""Endings of the files that are read as images."""

_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_GREY_MODES = ("1", "L", "LA", "La", *_DEEP_MODES)
_TURNED = (5, 6, 7, 8)
_ORIENTATION = 0x0112


def is_image(path: str) -> bool:
    """Whether the file's name ends as an image's."""
    return path.lower().endswith(SUFFIXES)


@dataclass(frozen=True)
class Header:
    """What is known of an image before its pixels are decoded.

    Attributes:
        size: (H, W) as it is to be seen, after the camera's orientation.
        grey: Whether it is stored with one channel.
        deep: Whether it holds 16 bits a pixel.
    """

    size: tuple[int, int]
    grey: bool
    deep: bool


def read_header(path: str) -> Header:
    """Reads the header of an image file.

    Raises:
        UsageError: The file is missing or no image, or holds several slices or real numbers.
    """
    with _opened(path) as image:
        if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
            raise UsageError(
                f"{path!r} holds {getattr(image, 'n_frames', 1)} images: vision reads one a file, "
                "volumes are for --domain medical."
            )
        if image.mode == "F":
            raise UsageError(
                f"{path!r} holds floating-point pixels: store such images in an .npz file."
            )
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in _TURNED:
            width, height = height, width
        return Header((height, width), image.mode in _GREY_MODES, image.mode in _DEEP_MODES)


def decode(path: str, size: tuple[int, int], channels: int, deep: bool) -> npt.NDArray[Any]:
    """Decodes an image file, turned as its EXIF orientation says.

    Args:
        path: The file.
        size: (H, W) that it is resized to, bilinear with antialiasing; proportions are not kept.
        channels: 1 for grey (ITU-R 601 luma), 3 for RGB; transparency is dropped.
        deep: Whether the result is uint16 (8-bit values times 257) or uint8.

    Returns:
        Pixels [H, W, channels].

    Raises:
        UsageError: The file is missing or broken.
    """
    shape = (size[1], size[0])
    with _opened(path) as image:
        # A JPEG decoded at 1/2, 1/4 or 1/8 of its size costs a fraction of the time.
        if image.format == "JPEG":
            image.draft(None, (2 * max(size), 2 * max(size)))
        # Pillow's own conversion of these to 8 bits would cut off what is above 255.
        if image.mode in _DEEP_MODES:
            values = np.asarray(ImageOps.exif_transpose(image)).astype(np.int64)
            if values.min() < 0 or values.max() > 65535:
                raise UsageError(
                    f"{path!r} holds values beyond 16 bits: store such images in an .npz file."
                )
            grey = Image.fromarray(values.astype(np.float32))
            scaled = np.asarray(grey.resize(shape, Image.Resampling.BILINEAR))
            pixels = np.repeat(scaled[:, :, None], channels, axis=2)
            whole: npt.NDArray[Any] = np.rint(pixels if deep else pixels / 257)
            return whole.astype(np.uint16 if deep else np.uint8)
        shown = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
        if shown.size != shape:
            shown = shown.resize(shape, Image.Resampling.BILINEAR)
        eight = np.asarray(shown, dtype=np.uint8).reshape(*size, channels)
        return eight.astype(np.uint16) * np.uint16(257) if deep else eight


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """Opens an image; whatever Pillow raises on it becomes one sentence naming the file."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise UsageError(f"No such image file: {path!r}.") from None
    except PermissionError:
        raise UsageError(f"No permission to read {path!r}.") from None
    except Image.DecompressionBombError:
        raise UsageError(
            f"{path!r} has more pixels than Pillow opens: scale it down first."
        ) from None
    except UsageError:
        raise
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        MemoryError,
        struct.error,
        zlib.error,
    ) as error:
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise UsageError(f"{path!r} is empty: remove it or put the image back.") from None
        raise UsageError(
            f"{path!r} cannot be read as an image ({type(error).__name__}): it is broken, or "
            "no image."
        ) from None
