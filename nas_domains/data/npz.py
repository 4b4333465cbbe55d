"""Labelled images in an .npz file, in MedMNIST's layout."""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import UsageError
from .images import ArrayImages, ImageParts, Images
from .labels import encode_labels, integer_labels
from .rule import SplitRule, complete_splits
from .splits import Groups

_LAYOUT = "expected are train_images and train_labels, and the same for val and test"
_PARTS = ("train", "val", "test")
_MOST_CHANNELS = 16


def read_npz(
    path: str, rule: SplitRule, seed: int, *, volumes: bool = False
) -> ImageParts:
    """Reads ``{train,val,test}_{images,labels}``, optionally ``_groups``.

    Images are [N, H, W] or [N, H, W, C], labels [N] or [N, 1]; val and test may be missing and are
    then cut from train by ``rule``. Labels are numbered anew where they have gaps.

    Args:
        path: The .npz file.
        rule: How missing splits are cut.
        seed: Seed of the cut.
        volumes: Whether volumes [N, D, H, W] and [N, D, H, W, C] are read in the place of images.

    Raises:
        UsageError: The file or an array in it is not as said above.
    """
    known = {f"{part}_{kind}" for part in _PARTS for kind in ("images", "labels", "groups")}
    arrays = load_arrays(path, lambda names: [name for name in names if name in known])
    found = [part for part in _PARTS if f"{part}_images" in arrays]
    if "train" not in found:
        names = ", ".join(array_names(path)[:8]) or "nothing"
        raise UsageError(f"{path!r} holds {names}: {_LAYOUT}.")
    images: dict[str, npt.NDArray[Any]] = {}
    labels: dict[str, npt.NDArray[Any]] = {}
    groups: dict[str, Groups] = {}
    for part in found:
        where, stored = f"{path!r}: {part}_images", arrays[f"{part}_images"]
        images[part] = (check_volumes if volumes else check_images)(where, stored)
        if f"{part}_labels" not in arrays:
            raise UsageError(f"{path!r} holds {part}_images but no {part}_labels: {_LAYOUT}.")
        labels[part] = integer_labels(f"{path!r}: {part}_labels", arrays[f"{part}_labels"])
        if f"{part}_groups" in arrays:
            groups[part] = arrays[f"{part}_groups"].reshape(-1).astype(np.str_)
        _check_lengths(path, part, len(images[part]), labels[part], groups.get(part))
        if images[part].shape[1:] != images["train"].shape[1:]:
            raise UsageError(
                f"{path!r} has {part}_images of the shape {images[part].shape[1:]} but "
                f"train_images of {images['train'].shape[1:]}: make them alike."
            )
    if groups and len(groups) < len(found):
        lacking = next(part for part in found if part not in groups)
        raise UsageError(f"{path!r} has groups of some splits but no {lacking}_groups.")
    encoded, classes = encode_labels(path, labels)
    return divide_arrays(path, images, encoded, classes, rule, seed, groups=groups or None)


def divide_arrays(
    source: str,
    images: Mapping[str, npt.NDArray[Any]],
    labels: Mapping[str, npt.NDArray[np.int64]],
    classes: Iterable[str],
    rule: SplitRule,
    seed: int,
    *,
    groups: Mapping[str, Groups] | None = None,
    by_class: bool = True,
) -> ImageParts:
    """Cuts the missing splits of image arrays and normalises all three.

    Args:
        source: What the data is called in errors.
        images: Pixels [n, H, W, C] of each split that is given; "train" is among them.
        labels: Class numbers int64 [n], likewise.
        classes: Names of the classes.
        rule: How missing splits are cut.
        seed: Seed of the cut.
        groups: Groups [n], likewise, or None.
        by_class: See :func:`nas_domains.data.rule.complete_splits`.

    Raises:
        UsageError: See :func:`nas_domains.data.rule.complete_splits`.
    """
    given = {}
    start = 0
    for part, numbers in labels.items():
        given[part] = np.arange(start, start + len(numbers))
        start += len(numbers)
    together = np.concatenate(list(labels.values()))
    grouped = None if groups is None else np.concatenate([groups[part] for part in labels])
    splits, notes = complete_splits(
        source, together, given, rule, seed, groups=grouped, by_class=by_class
    )
    values = "unit" if all(unit_scale(array) is not None for array in images.values()) else "raw"
    parts: dict[str, Images] = {}
    for part, index in splits.items():
        # Missing splits come out of train, which stands first: its indices need no offset.
        pixels = images[part] if part in given and part != "train" else images["train"]
        if part not in given or len(index) < len(given[part]):
            pixels = pixels[index]
        scale = (unit_scale(pixels) or 1.0) if values == "unit" else 1.0
        parts[part] = ArrayImages(
            pixels, together[index], scale, None if grouped is None else grouped[index]
        )
    return ImageParts.normalise(parts, tuple(classes), values, notes)


def unit_scale(images: npt.NDArray[Any]) -> float | None:
    """What brings pixels to fractions of full scale, or None where their type does not say.

    Args:
        images: Pixels of any shape.

    Returns:
        255 for uint8, 65535 for uint16, 1 for booleans and for real numbers within [0, 1].
    """
    if images.dtype == np.uint8:
        return 255.0
    if images.dtype.kind == "u" and images.dtype.itemsize == 2:
        return 65535.0
    if images.dtype.kind == "b":
        return 1.0
    if images.dtype.kind == "f" and images.min() >= 0 and images.max() <= 1:
        return 1.0
    return None


def check_images(where: str, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Checks an array of images and gives it a channel dimension.

    Args:
        where: File and array, for errors.
        images: Pixels [N, H, W] or [N, H, W, C], C at most 16.

    Returns:
        Pixels [N, H, W, C].

    Raises:
        UsageError: Another rank or type, no pixels, or pixels that are not finite.
    """
    shape = images.shape
    if images.dtype.kind not in "buif":
        raise UsageError(f"{where} is of type {images.dtype}: images must be of a number type.")
    if images.size == 0:
        raise UsageError(f"{where} has the shape {shape}: it holds no pixels.")
    channels_last = images.ndim == 4 and 2 * shape[3] <= max(2, min(shape[1:3]))
    if images.ndim == 4 and not (shape[3] <= 3 or (shape[3] <= _MOST_CHANNELS and channels_last)):
        if shape[1] <= 4:
            raise UsageError(
                f"{where} has the shape {shape}: channels come last, as in "
                f"{(shape[0], *shape[2:], shape[1])}."
            )
        raise UsageError(
            f"{where} has the shape {shape}: vision reads [N, H, W] and [N, H, W, C], volumes are "
            "for --domain medical."
        )
    if images.ndim not in (3, 4):
        volumes = ", volumes are for --domain medical" if images.ndim == 5 else ""
        raise UsageError(
            f"{where} has the shape {shape}: vision reads [N, H, W] and [N, H, W, C]{volumes}."
        )
    _check_finite(where, images)
    return images[..., None] if images.ndim == 3 else images


def check_volumes(where: str, volumes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Checks an array of volumes and gives it a channel dimension.

    Args:
        where: File and array, for errors.
        volumes: Voxels [N, D, H, W] or [N, D, H, W, C], C at most 16.

    Returns:
        Voxels [N, D, H, W, C].

    Raises:
        UsageError: Another rank or type, no voxels, or voxels that are not finite.
    """
    shape = volumes.shape
    if volumes.dtype.kind not in "buif" or volumes.size == 0:
        raise UsageError(
            f"{where} has the shape {shape} and the type {volumes.dtype}: volumes are numbers."
        )
    if volumes.ndim not in (4, 5) or (volumes.ndim == 5 and shape[4] > _MOST_CHANNELS):
        raise UsageError(
            f"{where} has the shape {shape}: volumes are [N, D, H, W] or [N, D, H, W, C]."
        )
    _check_finite(where, volumes)
    return volumes[..., None] if volumes.ndim == 4 else volumes


def holds_volumes(path: str) -> bool:
    """Whether an .npz file's training images are volumes, by their shape.

    Raises:
        UsageError: The file cannot be read.
    """
    found = load_arrays(path, lambda names: [n for n in names if n == "train_images"])
    stored = found.get("train_images")
    if stored is None:
        return False
    return stored.ndim == 5 or (stored.ndim == 4 and stored.shape[3] > _MOST_CHANNELS)


def _check_finite(where: str, images: npt.NDArray[Any]) -> None:
    if images.dtype.kind != "f":
        return
    finite = np.isfinite(images).reshape(images.shape[0], -1).all(1)
    if not finite.all():
        raise UsageError(
            f"{where} holds NaN or infinite pixels, first in image {int(finite.argmin())}."
        )


def _check_lengths(
    path: str,
    part: str,
    count: int,
    labels: npt.NDArray[Any],
    groups: Groups | None,
) -> None:
    for name, values in (("labels", labels), ("groups", groups)):
        if values is not None and len(values) != count:
            raise UsageError(
                f"{path!r} has {count} {part}_images but {len(values)} {part}_{name}: each image "
                "needs one."
            )


def load_arrays(
    path: str, wanted: Callable[[list[str]], Iterable[str]]
) -> dict[str, npt.NDArray[Any]]:
    """Reads arrays out of an .npz file, never unpickling anything.

    Args:
        path: The file.
        wanted: From the names in the file to those that are read.

    Raises:
        UsageError: The file is missing, no .npz file or damaged, or an array holds Python objects.
    """
    if not os.path.exists(path):
        raise UsageError(f"No such file: {path!r}.")
    name = ""
    try:
        # numpy.load would also take .npy files and pickles.
        if not zipfile.is_zipfile(path):
            _raise_not_zip(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {}
            for name in wanted(list(file.files)):
                arrays[name] = file[name]
            return arrays
    except UsageError:
        raise
    except PermissionError:
        raise UsageError(f"No permission to read {path!r}.") from None
    except MemoryError:
        raise UsageError(f"{path!r}: {name} does not fit into memory.") from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise UsageError(
                f"{path!r}: {name} holds Python objects, which are never loaded: save it as an "
                "array of numbers."
            ) from None
        raise UsageError(_damaged(path, name)) from None
    except (
        OSError,
        EOFError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        zipfile.BadZipFile,
        zlib.error,
    ):
        raise UsageError(_damaged(path, name)) from None


def array_names(path: str) -> list[str]:
    """Names of the arrays in an .npz file; raises as :func:`load_arrays` does."""
    names: list[str] = []

    def keep(found: list[str]) -> list[str]:
        names.extend(found)
        return []

    load_arrays(path, keep)
    return names


def _raise_not_zip(path: str) -> None:
    with open(path, "rb") as file:
        if not file.read(1):
            raise UsageError(f"{path!r} is empty: save it again with numpy.savez.")
    raise UsageError(f"{path!r} is damaged or no .npz file: save it again with numpy.savez.")


def _damaged(path: str, name: str) -> str:
    where = f" at {name}" if name else ""
    return f"{path!r} is damaged{where}: save it again with numpy.savez."
