"""Masks of new volumes, written as NIfTI files that lie where their images lie."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.errors import UsageError
from ..core.files import write_atomic
from ..core.progress import Reporter
from ..data.decathlon import case_name
from ..data.nifti import is_nifti
from .scoring import WholeVolume
from .transforms import Preparation


def write_masks(
    network: nn.Module,
    source: str,
    preprocess: Mapping[str, Any],
    out: Path,
    reporter: Reporter,
) -> int:
    """Segments volumes; a mask has the shape and the affine of its image.

    Args:
        network: In evaluation mode, on the CPU.
        source: A NIfTI file, or a folder of them.
        preprocess: Of the task that the network was trained on.
        out: The folder of the masks, which are named as their images.
        reporter: Shows progress.

    Returns:
        How many masks were written.

    Raises:
        UsageError: There are no volumes, one cannot be read, or the folder cannot be written. No
            mask is half written.
    """
    paths = volumes_of(source)
    if out.suffix.lower() in (".csv", ".gz", ".nii") or out.is_file():
        raise UsageError(f"Masks go into a folder, not into {str(out)!r}: write --out masks/.")
    names = [case_name(path) for path in paths]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise UsageError(f"{source!r} holds two volumes named {double!r}: rename one of them.")
    if any(os.path.abspath(out / f"{n}.nii.gz") in map(os.path.abspath, paths) for n in names):
        raise UsageError(f"--out {str(out)!r} is where the images lie: choose another folder.")
    prepare = Preparation(preprocess)
    infer = WholeVolume.of(preprocess)
    values = np.array(preprocess["values"])
    with reporter.bar("predict", len(paths), "volumes") as advance, torch.no_grad():
        for done, (path, name) in enumerate(zip(paths, names, strict=True), 1):
            _write(path, out / f"{name}.nii.gz", segment(network, path, prepare, infer, values))
            advance(done)
    return len(paths)


def mask_type(values: Sequence[int]) -> str:
    """The smallest whole number that holds the values of labels and that NIfTI readers know."""
    largest = max(values)
    return "uint8" if largest < 2**8 else "int16" if largest < 2**15 else "int32"


def segment(
    network: nn.Module,
    path: str,
    prepare: Preparation,
    infer: WholeVolume,
    values: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    """The mask [X, Y, Z] of a volume, in the values of the labels and the voxels of its file."""
    x, transforms = prepare.image(path)
    scores = infer(network, x.as_tensor()[None])[0].softmax(0)
    shares = prepare.restore(scores, x, transforms)
    # What the crop left out has no share of any class, and is background.
    best = shares.argmax(0).numpy()
    mask: np.ndarray[Any, Any] = values[best]
    return mask.astype(mask_type(values.tolist()))


def volumes_of(source: str) -> list[str]:
    """NIfTI files in sorted order.

    Raises:
        UsageError: Nothing there, or no such file.
    """
    if os.path.isdir(source):
        # A Mac leaves files that begin with "._" beside the true ones.
        names = sorted(n for n in os.listdir(source) if is_nifti(n) and not n.startswith("."))
        if not names:
            raise UsageError(f"{source!r} holds no NIfTI files: give a folder of .nii.gz files.")
        return [os.path.join(source, name) for name in names]
    if not os.path.exists(source):
        raise UsageError(f"No such file or folder: {source!r}.")
    if not is_nifti(source):
        raise UsageError(f"{source!r} is no NIfTI file by its ending: give .nii or .nii.gz.")
    return [source]


def _write(like: str, path: Path, mask: np.ndarray[Any, Any]) -> None:
    import nibabel

    image: Any = nibabel.load(like)
    header = image.header.copy()
    if mask.shape != image.shape[:3]:
        # An image of one slice, [X, Y] or [X, Y, C], has a mask [X, Y].
        mask = mask[..., 0]
    header.set_data_dtype(mask.dtype)
    header.set_slope_inter(1, 0)
    header["cal_max"] = header["cal_min"] = 0
    made = nibabel.Nifti1Image(mask, image.affine, header)
    content = made.to_bytes()

    def write(temporary: Path) -> None:
        import gzip

        # The time is left out, so that the same mask has the same bytes.
        temporary.write_bytes(gzip.compress(content, mtime=0))

    write_atomic(path, write)
