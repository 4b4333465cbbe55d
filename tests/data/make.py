"""Small data sets on disk, as tests read them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def npz_arrays(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Arrays in MedMNIST's layout: 40/10/10 images of 12x10, two classes; None drops an array."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    for part, n in (("train", 40), ("val", 10), ("test", 10)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (n, 12, 10), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 2).astype(np.uint8)[:, None]
    arrays.update(changes)
    return {name: array for name, array in arrays.items() if array is not None}


def write_npz(path: Path, **changes: Any) -> str:
    """Writes :func:`npz_arrays` and returns the path as a string."""
    np.savez(path, **npz_arrays(**changes))
    return str(path)


def write_image(
    path: Path, size: tuple[int, int] = (12, 10), seed: int = 0, mode: str = "L"
) -> str:
    """Writes a random image of (H, W) and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 3) if mode == "RGB" else size
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


def write_folder(root: Path, classes: tuple[str, ...] = ("cat", "dog"), n: int = 10) -> str:
    """Writes n images a class into root/CLASS and returns the root as a string."""
    for c, label in enumerate(classes):
        for i in range(n):
            write_image(root / label / f"{i:03d}.png", seed=100 * c + i)
    return str(root)
