"""Images and masks in NIfTI files, checked. Needs the extra ``medical``."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import UsageError
from .decathlon import Case

Affine = npt.NDArray[np.float64]
ENDINGS = (".nii", ".nii.gz")


def is_nifti(path: str) -> bool:
    """Whether a path is a NIfTI file by its ending."""
    return path.lower().endswith(ENDINGS)


def read_image(path: str, channels: int) -> tuple[npt.NDArray[np.float32], Affine]:
    """Reads an image.

    Args:
        path: [X, Y, Z], or [X, Y, Z, C] where there are several modalities; [X, Y] and
            [X, Y, C] are one slice.
        channels: How many modalities it must have.

    Returns:
        Intensities float32 [C, X, Y, Z], and the affine [4, 4] from voxels to millimetres.

    Raises:
        UsageError: The file is missing, damaged or empty, has other dimensions, or holds NaN or
            infinite intensities.
    """
    voxels, affine = _read(path, np.float32)
    if _is_flat(voxels.shape, channels):
        voxels = voxels[:, :, None]
    if voxels.ndim == 3 and channels == 1:
        voxels = voxels[..., None]
    if voxels.ndim != 4 or voxels.shape[3] != channels:
        wanted = "3 dimensions" if channels == 1 else f"3 or 4 dimensions, the last of {channels}"
        raise UsageError(
            f"The image {path!r} has the shape {_shape(voxels)}, but {channels} modalit"
            f"{'y' if channels == 1 else 'ies'} make {wanted}."
        )
    if not np.isfinite(voxels).all():
        raise UsageError(
            f"The image {path!r} holds {int((~np.isfinite(voxels)).sum())} NaN or infinite "
            "intensities: mend it, or leave the case out."
        )
    return np.ascontiguousarray(np.moveaxis(voxels, 3, 0)), affine


def is_flat(path: str, channels: int) -> bool:
    """Whether an image that can be read has two dimensions, beside that of its modalities."""
    import nibabel

    image: Any = nibabel.load(path)
    return _is_flat(image.shape, channels)


def _is_flat(shape: Sequence[int], channels: int) -> bool:
    return (len(shape) == 2 and channels == 1) or (len(shape) == 3 and shape[2] == channels > 1)


def read_case(
    case: Case, channels: int, values: Sequence[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], Affine]:
    """Reads the image and the mask of a case.

    Args:
        case: Both its files.
        channels: How many modalities the image must have.
        values: The values that the mask may have, ascending.

    Returns:
        Intensities float32 [C, X, Y, Z], class numbers uint8 [X, Y, Z] by the order of ``values``,
        and the affine [4, 4] of the image.

    Raises:
        UsageError: As :func:`read_image`, a mask of another shape or other directions, or with
            other values.
    """
    image, affine = read_image(case.image, channels)
    label, own = _read(case.label, np.float64)
    if label.ndim == 4 and label.shape[3] == 1:
        label = label[..., 0]
    if label.ndim == 2:
        label = label[..., None]
    if label.shape != image.shape[1:]:
        raise UsageError(
            f"The case {case.name!r} has an image of the shape {_shape(image[0])} but a mask of "
            f"{_shape(label)}: {case.label!r} must be as large as its image."
        )
    axes, lies = (_directions(a) for a in (affine, own))
    if axes != lies:
        raise UsageError(
            f"The mask {case.label!r} lies in the directions {lies} and its image in {axes}: save "
            "it with the affine of its image, turned as that is."
        )
    found = np.unique(label)
    strange = found[~np.isin(found, values)]
    if len(strange):
        raise UsageError(
            f"The mask {case.label!r} holds the value {strange[0]:g}, which dataset.json does not "
            f"list: its labels are {', '.join(map(str, values))}."
        )
    return image, np.searchsorted(values, label).astype(np.uint8), affine


def _directions(affine: Affine) -> str:
    """What the axes point to, e.g. "RAS"."""
    import nibabel

    return "".join(str(code) for code in nibabel.aff2axcodes(affine))


def _read(path: str, dtype: Any) -> tuple[npt.NDArray[Any], Affine]:
    import nibabel

    if not os.path.isfile(path):
        raise UsageError(f"No such file: {path!r}.")
    if os.path.getsize(path) == 0:
        raise UsageError(f"{path!r} is an empty file: restore it from a copy.")
    try:
        image: Any = nibabel.load(path)
        voxels = np.asarray(image.dataobj, dtype=dtype)
        affine = np.asarray(image.affine, np.float64)
    except PermissionError:
        raise UsageError(f"No permission to read {path!r}.") from None
    except MemoryError:
        raise
    except Exception as error:
        # nibabel, gzip and zlib have a dozen exceptions for damaged files.
        reason = (str(error).splitlines() or [""])[0].replace(path, "it").rstrip(".")
        raise UsageError(
            f"{path!r} is no readable NIfTI file ({reason or type(error).__name__}): restore it "
            "from a copy."
        ) from None
    if voxels.size == 0:
        raise UsageError(f"{path!r} holds no voxels: its shape is {_shape(voxels)}.")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise UsageError(f"{path!r} has an affine that cannot be inverted: mend its header.")
    return voxels, affine


def _shape(voxels: npt.NDArray[Any]) -> str:
    return "x".join(map(str, voxels.shape)) or "()"
