"""Images without labels, prepared as a network's training images were."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.errors import UsageError
from .decode import is_image, read_header
from .files import image_files
from .images import ArrayImages, FileImages, Images
from .npz import array_names, check_images, load_arrays, unit_scale
from .seen import SeenImages
from .tables import table_rows


def image_preprocess(images: Images, values: str) -> dict[str, Any]:
    """What :func:`read_inputs` needs to prepare other images like these; JSON-able.

    Args:
        images: The training split.
        values: "unit" or "raw", see :class:`nas_domains.data.images.ImageParts`.
    """
    channels, *sides = images[0][0].shape
    return {
        "channels": int(channels),
        "size": [int(side) for side in sides],
        "values": values,
        "mean": list(images.mean),
        "std": list(images.std),
    }


def read_inputs(source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], Images]:
    """Reads unlabelled images.

    Args:
        source: An image file; a folder, read with its sub-folders in sorted order; a CSV with a
            column path; or an .npz file, of which test_images, else images, else the first array
            of images is read.
        preprocess: What :func:`image_preprocess` returned for the training split.

    Returns:
        A name for each image, and the images with label 0.

    Raises:
        UsageError: There are no images there, or they cannot be brought to the form of training.
    """
    if not os.path.exists(source):
        raise UsageError(f"No such file or folder: {source!r}.")
    names: list[str]
    images: Images
    if os.path.isdir(source):
        paths = image_files(source)
        if not paths:
            raise UsageError(f"{source!r} holds no images: give a folder, an image, .npz or .csv.")
        names = [os.path.relpath(path, source) for path in paths]
        images = _files(paths, preprocess)
    elif source.lower().endswith(".npz"):
        names, images = _arrays(source, preprocess)
    elif source.lower().endswith(".csv"):
        folder = os.path.dirname(source)
        names = []
        for line, row in table_rows(source, ("path",)):
            if not os.path.isfile(os.path.join(folder, row["path"])):
                raise UsageError(f"{source!r}, line {line}: there is no file {row['path']!r}.")
            names.append(row["path"])
        images = _files([os.path.join(folder, name) for name in names], preprocess)
    elif is_image(source):
        names = [os.path.basename(source)]
        images = _files([source], preprocess)
    else:
        raise UsageError(
            f"{source!r} is no image by its ending: give a folder, an image, .npz or .csv."
        )
    return names, images.normalised(preprocess["mean"], preprocess["std"])


def _files(paths: list[str], preprocess: Mapping[str, Any]) -> FileImages:
    channels = int(preprocess["channels"])
    if channels not in (1, 3):
        raise UsageError(
            f"{paths[0]!r} cannot be given to a network trained on {channels} channels: put such "
            "images into an .npz file."
        )
    headers = [read_header(path) for path in paths]
    deep = channels == 1 and any(header.deep for header in headers)
    height, width = preprocess["size"]
    labels = np.zeros(len(paths), np.int64)
    # A network trained on values as stored gets them as stored.
    scale = None if preprocess["values"] == "unit" else 1.0
    if scale is not None and deep and not all(header.deep for header in headers):
        raise UsageError(
            f"{paths[0]!r} and its neighbours mix 8 and 16 bits a pixel: give them in two calls."
        )
    size = (int(height), int(width))
    images = FileImages(paths, labels, size, channels, deep=deep, scale=scale)
    images.fill()
    return images


def _arrays(source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], Images]:
    names = array_names(source)
    if "test_images" in names or "images" in names:
        name = "test_images" if "test_images" in names else "images"
        stored = load_arrays(source, lambda _: [name])[name]
    else:
        for name in names:
            stored = load_arrays(source, lambda _, name=name: [name])[name]  # type: ignore[misc]
            if stored.ndim in (3, 4):
                break
        else:
            raise UsageError(
                f"{source!r} holds no array of images [N, H, W] or [N, H, W, C]: name it images."
            )
    where = f"{source!r}: {name}"
    images = check_images(where, stored)
    scale = 1.0
    if preprocess["values"] == "unit":
        known = unit_scale(images)
        if known is None:
            raise UsageError(
                f"{where} holds {images.dtype} values from {images.min()} to {images.max()}: the "
                "network was trained on uint8, uint16 or values from 0 to 1."
            )
        scale = known
    height, width = preprocess["size"]
    base = ArrayImages(images, np.zeros(len(images), np.int64), scale)
    # A batch at a time, as all of them at the size of an encoder may be too many.
    seen = SeenImages(base, (int(height), int(width)), int(preprocess["channels"]), where)
    seen.raw([0])
    return [f"{name}[{i}]" for i in range(len(images))], seen
