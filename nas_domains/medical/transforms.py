"""From NIfTI files to what a network takes, by MONAI's dictionary transforms."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai import transforms as mt
from monai.data import MetaTensor, get_track_meta, set_track_meta
from monai.transforms.utils import map_classes_to_indices
from torch import Tensor

from ..core.errors import UsageError
from ..data.decathlon import Case
from ..data.nifti import Affine, read_case, read_image

IMAGE, LABEL, PLACES = "image", "label", "places"
AUGMENTATIONS = ("affine", "flip", "intensity", "none")
MOST_PLACES = 10_000
"""Voxels of a class, evenly spaced in memory, that a patch may lie around."""
_NEAR = 0.01
"""A volume whose spacing differs by less than this share is not resampled."""


@dataclass(frozen=True)
class Preparation:
    """Reads a case and prepares it: orientation, spacing, foreground crop, intensities.

    Attributes:
        preprocess: JSON-able: "modalities"; "values" of the labels; "spacing", the millimetres of
            a voxel's sides, 0 for a side that is left as it is; "intensity" with one entry a
            modality: {"percentiles": [low, high]} clips each volume at its own percentiles and
            makes its mean 0 and its deviation 1, {"clip": [low, high], "mean": m, "std": s} uses
            the same numbers for all, as tomography's units allow.
    """

    preprocess: Mapping[str, Any]

    def __call__(self, case: Case) -> tuple[Tensor, Tensor]:
        """x float32 [C, X, Y, Z] and class numbers uint8 [X, Y, Z] of a labelled case."""
        channels = len(self.preprocess["modalities"])
        image, label, affine = read_case(case, channels, self.preprocess["values"])
        data = self._transforms((IMAGE, LABEL), affine, case.image)(
            {IMAGE: _meta(image, affine), LABEL: _meta(label[None], affine)}
        )
        return data[IMAGE].as_tensor().contiguous(), data[LABEL][0].as_tensor().to(torch.uint8)

    def image(self, path: str) -> tuple[MetaTensor, mt.Compose]:
        """x float32 [C, X, Y, Z] of an image alone, and the transforms that made it."""
        image, affine = read_image(path, len(self.preprocess["modalities"]))
        transforms = self._transforms((IMAGE,), affine, path)
        return transforms({IMAGE: _meta(image, affine)})[IMAGE], transforms

    def original(self, case: Case, scores: Tensor) -> tuple[Tensor, MetaTensor]:
        """Scores and truth of a labelled case in the voxels of its files.

        Args:
            case: Whose image was prepared.
            scores: [1, K, ...] on the prepared image's voxels.

        Returns:
            Shares of the classes [1, K, X, Y, Z], none of any outside the crop, and class numbers
            int64 [1, X, Y, Z], which know their affine.
        """
        channels = len(self.preprocess["modalities"])
        image, label, affine = read_case(case, channels, self.preprocess["values"])
        transforms = self._transforms((IMAGE,), affine, case.image)
        x = transforms({IMAGE: _meta(image, affine)})[IMAGE]
        shares = self.restore(scores[0].softmax(0), x, transforms)
        classes = torch.from_numpy(label[None]).long()
        return shares[None], MetaTensor(classes, affine=torch.from_numpy(affine))

    def restore(self, scores: Tensor, like: MetaTensor, transforms: mt.Compose) -> Tensor:
        """Brings scores [K, ...] of a prepared image back to the voxels of its file.

        Args:
            scores: On the prepared image's voxels.
            like: The prepared image, of :meth:`image`.
            transforms: That made it.
        """
        meta = MetaTensor(scores, meta=like.meta, applied_operations=like.applied_operations)
        return _plain(transforms.inverse({IMAGE: meta})[IMAGE])

    def _transforms(self, keys: tuple[str, ...], affine: Affine, path: str) -> mt.Compose:
        spacing = [float(side) for side in self.preprocess["spacing"]]
        steps: list[Any] = [mt.Orientationd(keys, axcodes="RAS", labels=None)]
        own = _sides_in_ras(affine)
        if any(b and abs(a / b - 1) > _NEAR for a, b in zip(own, spacing, strict=True)):
            modes = ["bilinear", "nearest"][: len(keys)]
            steps.append(mt.Spacingd(keys, pixdim=spacing, mode=modes))
        steps.append(
            mt.CropForegroundd(
                keys, IMAGE, select_fn=_Foreground(path), allow_smaller=True,
                start_coord_key=None, end_coord_key=None,
            )
        )  # fmt: skip
        steps.append(Intensities(self.preprocess["intensity"]))
        return mt.Compose(steps)


def _sides_in_ras(affine: Affine) -> list[float]:
    import nibabel

    order = nibabel.io_orientation(affine)[:, 0].astype(int)
    sides = np.sqrt((affine[:3, :3] ** 2).sum(0))
    return [float(sides[list(order).index(axis)]) for axis in range(3)]


def _meta(array: Any, affine: Affine) -> MetaTensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    return MetaTensor(tensor, affine=torch.from_numpy(affine.copy()))


@dataclass(frozen=True)
class _Foreground:
    """All that is brighter than the darkest voxel of a volume.

    Attributes:
        path: The volume's file, for errors.
    """

    path: str

    def __call__(self, x: Tensor) -> Tensor:
        bright: Tensor = x > x.min()
        if not bright.any():
            raise UsageError(
                f"The image {self.path!r} has the same intensity everywhere: leave the case out."
            )
        return bright


class Intensities(mt.MapTransform):  # type: ignore[misc]
    """The intensities of each channel as the fingerprint says; see :class:`Preparation`.

    Args:
        channels: An entry for each channel.
    """

    def __init__(self, channels: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(IMAGE)
        self.steps = [_channel_step(entry) for entry in channels]

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Changes the image of a case."""
        done = dict(data)
        image = done[IMAGE]
        done[IMAGE] = image.clone()
        for number, step in enumerate(self.steps):
            done[IMAGE][number] = step(image.as_tensor()[number : number + 1])[0]
        return done


def _channel_step(entry: Mapping[str, Any]) -> mt.Compose:
    if "percentiles" in entry:
        low, high = entry["percentiles"]
        clip = mt.ClipIntensityPercentiles(low, high)
        return mt.Compose([clip, mt.NormalizeIntensity()])
    low, high = entry["clip"]
    scale = mt.NormalizeIntensity(subtrahend=entry["mean"], divisor=entry["std"])
    return mt.Compose([mt.ThresholdIntensity(high, above=False, cval=high),
                       mt.ThresholdIntensity(low, above=True, cval=low), scale])  # fmt: skip


class Patches:
    """Patches of one shape; satisfies :class:`nas_domains.data.volumes.Patcher`.

    The centre is a voxel of a class drawn at random, each class as often as another, so that small
    structures are seen. The same seed gives the same patch, whatever was drawn before.

    Args:
        size: Sides of a patch.
        classes: Number of classes.
        augment: Some of :data:`AUGMENTATIONS`: "flip" mirrors left and right, "affine" turns by up
            to 15 degrees and scales by up to a tenth, "intensity" scales, shifts and adds noise.
        axis: Where patches are of slices, the axis that these lie across; else None.
    """

    def __init__(
        self, size: Sequence[int], classes: int, augment: Sequence[str], axis: int | None = None
    ) -> None:
        self.size, self.classes, self.axis = tuple(size), classes, axis
        both, cut = (IMAGE, LABEL), list(size)
        flat = []
        if axis is not None:
            cut.insert(axis, 1)
            flat = [mt.SqueezeDimd(both, dim=1 + axis)]
        self.pad = mt.SpatialPadd(both, cut, mode="edge")
        self.centre = mt.Compose([mt.CenterSpatialCropd(both, cut), *flat])
        crop = mt.RandCropByLabelClassesd(
            both, LABEL, cut, num_classes=classes, num_samples=1, indices_key=PLACES, warn=False
        )
        self.random = mt.Compose([crop, *flat, *self._changes(augment)])

    def _changes(self, augment: Sequence[str]) -> list[Any]:
        both = (IMAGE, LABEL)
        found: list[Any] = []
        if "flip" in augment and self.axis != 0:
            found.append(mt.RandFlipd(both, prob=0.5, spatial_axis=0))
        if "affine" in augment:
            turn = (np.pi / 12,) * (3 if len(self.size) == 3 else 1)
            found.append(
                mt.RandAffined(
                    both, prob=0.3, rotate_range=turn, scale_range=(0.1,) * len(self.size),
                    mode=("bilinear", "nearest"), padding_mode="border",
                )
            )  # fmt: skip
        if "intensity" in augment:
            found += [
                mt.RandScaleIntensityd(IMAGE, 0.2, prob=0.3),
                mt.RandShiftIntensityd(IMAGE, 0.2, prob=0.3),
                mt.RandGaussianNoised(IMAGE, prob=0.2, std=0.1),
            ]
        return found

    def fixed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The patch around the middle of the volume, or of its middle slice."""
        with _untracked():
            return _pair(self.centre(self.pad({IMAGE: x, LABEL: y[None]})))

    def places(self, y: Tensor) -> list[Tensor]:
        """Flat indices of voxels of each class, in the padded volume."""
        with _untracked():
            label = self.pad({IMAGE: y[None], LABEL: y[None]})[LABEL]
            found: list[Tensor] = map_classes_to_indices(
                label, num_classes=self.classes, max_samples_per_class=MOST_PLACES
            )
        return found

    def draw(
        self, x: Tensor, y: Tensor, places: list[Tensor], seed: int
    ) -> tuple[Tensor, Tensor]:
        """A patch around a class drawn at random, augmented; from the seed only."""
        self.random.set_random_state(seed % 2**32)
        with _untracked():
            padded = self.pad({IMAGE: x, LABEL: y[None]})
            (found,) = self.random({**padded, PLACES: places})
        return _pair(found)


@contextmanager
def _untracked() -> Iterator[None]:
    """Without the record of what was done to an image, which a patch has no use for: it takes more
    time than the changes themselves."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def _pair(data: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    x, y = (_plain(data[key]) for key in (IMAGE, LABEL))
    return x.to(torch.float32), y[0].to(torch.uint8)


def _plain(x: Tensor) -> Tensor:
    return x.as_tensor() if isinstance(x, MetaTensor) else x


def parse_augment(given: object) -> tuple[str, ...]:
    """Reads the ``augment`` option of volumes.

    Raises:
        UsageError: An unknown word, or "none" beside others.
    """
    words = tuple(part.strip().lower() for part in str(given).split(","))
    for word in words:
        if word not in AUGMENTATIONS or words.count(word) > 1 or ("none" in words and words[1:]):
            raise UsageError(
                f"augment={given!r} is not understood: write affine,flip,intensity, some of them, "
                "or none."
            )
    return () if words == ("none",) else words
