"""What a data set is like, in sizes, spacings and classes, and what follows for training on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import UsageError
from ..data.decathlon import Case, Decathlon
from ..data.nifti import read_case
from .scoring import STEP, padded

PATCH_VOXELS = 1 << 17
BATCH_VOXELS = 1 << 18
SCORING = 8
"""How many times longer an epoch's training takes than scoring the validation cases, at least."""
MOST_PATCHES = 16
_PERCENTILES = (0.5, 99.5)
_SAMPLES = 10_000
"""Foreground voxels of a case that count for the intensities of tomography."""


@dataclass(frozen=True)
class CaseFacts:
    """What is known of a case after it was read once.

    Attributes:
        sides: Voxels of each side, [3].
        spacing: Millimetres of each voxel's sides, [3], in the same order.
        volumes: Voxels of each class [K].
        foreground: Intensities [C, n] of some voxels of the foreground.
    """

    sides: tuple[int, ...]
    spacing: tuple[float, ...]
    volumes: tuple[int, ...]
    foreground: npt.NDArray[np.float32]


def examine(case: Case, about: Decathlon) -> CaseFacts:
    """Reads and checks a case.

    Sides and spacing are in the order of left-right, back-front, down-up.

    Raises:
        UsageError: The case cannot be used; see :func:`nas_domains.data.nifti.read_case`.
    """
    import nibabel

    image, label, affine = read_case(case, len(about.modalities), about.values)
    if image.min() == image.max():
        raise UsageError(
            f"The image {case.image!r} has the same intensity everywhere: leave the case out."
        )
    order = [int(axis) for axis in nibabel.io_orientation(affine)[:, 0]]
    lengths = np.sqrt((affine[:3, :3] ** 2).sum(0))
    places = [order.index(axis) for axis in range(3)]
    voxels = image[:, label > 0]
    step = max(1, voxels.shape[1] // _SAMPLES)
    return CaseFacts(
        sides=tuple(label.shape[i] for i in places),
        spacing=tuple(float(lengths[i]) for i in places),
        volumes=tuple(np.bincount(label.reshape(-1), minlength=len(about.values)).tolist()),
        foreground=voxels[:, ::step].copy(),  # the rest is not to stay in memory
    )


@dataclass(frozen=True)
class Fingerprint:
    """A data set in numbers, of its training cases.

    Attributes:
        facts: One for each training case.
        about: What ``dataset.json`` says.
    """

    facts: Sequence[CaseFacts]
    about: Decathlon

    @property
    def spacing(self) -> tuple[float, ...]:
        """The median spacing, millimetres."""
        return tuple(np.median([f.spacing for f in self.facts], 0).round(6).tolist())

    def sides(self, spacing: Sequence[float]) -> npt.NDArray[np.float64]:
        """[N, 3]: sides of each case after resampling, in voxels; 0 leaves a side as it is."""
        sides = np.array([f.sides for f in self.facts], np.float64)
        own = np.array([f.spacing for f in self.facts])
        return sides * np.where(spacing, own, 1) / np.where(spacing, spacing, 1)

    def axis(self, dims: int | None) -> int | None:
        """The axis that slices lie across, that of the longest voxels; None for volumes.

        Args:
            dims: 2 for slices, 3 for volumes; where None, images of one slice are slices.
        """
        thin = [axis for axis in range(3) if all(f.sides[axis] == 1 for f in self.facts)]
        if dims == 3 or (dims is None and not thin):
            return None
        return thin[-1] if thin else across(self.spacing)

    def intensity(self) -> list[dict[str, Any]]:
        """How intensities of each modality are scaled; see ``transforms.Preparation``."""
        entries: list[dict[str, Any]] = []
        for number, name in enumerate(self.about.modalities):
            if name.strip().upper() == "CT":
                voxels = np.concatenate([f.foreground[number] for f in self.facts])
                if len(voxels):
                    low, high = np.percentile(voxels, _PERCENTILES)
                    inside = voxels.clip(low, high)
                    std = float(inside.std()) or 1.0
                    entries.append(
                        {"clip": [float(low), float(high)], "mean": float(inside.mean()),
                         "std": std}
                    )  # fmt: skip
                    continue
            entries.append({"percentiles": list(_PERCENTILES)})
        return entries

    def notes(self, spacing: Sequence[float]) -> list[str]:
        """Sentences for the console and the report."""
        sides = np.array([f.sides for f in self.facts])
        low, middle, high = sides.min(0), np.median(sides, 0), sides.max(0)
        volumes = np.array([f.volumes for f in self.facts], np.float64)
        shares = volumes.mean(0) / volumes.sum(1).mean()
        parts = []
        for name, share, own in zip(
            self.about.classes[1:], shares[1:], volumes.T[1:], strict=True
        ):
            absent = int((own == 0).sum())
            missing = f", absent from {absent} cases" if absent else ""
            parts.append(f"{name} {share:.2%}{missing}")
        return [
            f"{len(self.facts)} training cases, {_by(low)} to {_by(high)} voxels (median "
            f"{_by(middle)}), trained at {_by(spacing, 'own')} mm; modalities: "
            f"{', '.join(self.about.modalities)}.",
            f"Share of the voxels by class: {', '.join(parts)}.",
        ]


def patch_of(sides: Sequence[float]) -> tuple[int, ...]:
    """The patch for volumes of these sides: multiples of 8, of at most 131,072 voxels."""
    patch = [max(STEP, int(side) // STEP * STEP) for side in sides]
    while math.prod(patch) > PATCH_VOXELS:
        patch[int(np.argmax(patch))] -= STEP
    return tuple(patch)


def batch_of(patch: Sequence[int]) -> int:
    """Patches a step: as many as memory and time of a small machine allow, from 2 to 16."""
    wanted = min(16, max(2, BATCH_VOXELS // math.prod(patch)))
    return 1 << (wanted.bit_length() - 1)


def across(spacing: Sequence[float]) -> int:
    """The axis of the longest voxels, the last of equal ones."""
    longest = max(spacing)
    return max(axis for axis, side in enumerate(spacing) if side > 0.99 * longest)


def patches_of(
    cases: int, patch: Sequence[int], scored: int, voxels: int, slices: int = 1
) -> int:
    """Patches of each case that make an epoch, so that its scoring takes a small share of it.

    Scored one by one, a voxel takes about as long as it does in a training step.

    Args:
        cases: Of the training split.
        patch: Sides of a patch.
        scored: Cases of the validation split.
        voxels: That go through the network for one of them.
        slices: Of a usual case, where patches are of slices.
    """
    wanted = math.ceil(SCORING * scored * voxels / (cases * math.prod(patch)))
    return min(slices * MOST_PATCHES, max(1, wanted))


def whole_sides(sides: Sequence[float], patch: Sequence[int]) -> tuple[int, ...] | None:
    """Sides of a usual volume that goes through a network at once, or None where it is too large.

    A network that saw patches of half the sides, and no less, can be trusted with the whole.
    """
    whole = tuple(padded(math.ceil(side)) for side in sides)
    return whole if all(w <= 2 * p for w, p in zip(whole, patch, strict=True)) else None


def _by(numbers: Sequence[float] | npt.NDArray[Any], none: str = "0") -> str:
    return "x".join(f"{number:g}" if number else none for number in numbers)
