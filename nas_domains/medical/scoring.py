"""How a segmentation is learned, computed on whole volumes, and scored, by MONAI's functions."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.metrics import compute_dice, compute_hausdorff_distance
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from ..core.errors import UsageError

STEP = 8
"""Sides are padded to multiples of this, which the hand-made networks need."""

AT_ONCE = 1 << 18
"""Voxels of windows that go through a network together."""


class DiceCE:
    """Dice loss plus cross-entropy (Isensee et al. 2021, nnU-Net), equally weighted.

    The Dice is that of the whole batch, so that a class which one patch lacks is no division by
    zero. Outputs of deep supervision [B, S, K, ...] weigh 1, 1/2, 1/4, ... of their sum.
    """

    def __init__(self) -> None:
        self.loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """The loss of output [B, K, ...] and classes y int64 [B, ...]."""
        outputs = output.unbind(1) if output.dim() == y.dim() + 2 else (output,)
        weights = [0.5**i for i in range(len(outputs))]
        parts = [w * self.loss(o, y[:, None]) for w, o in zip(weights, outputs, strict=True)]
        total: Tensor = torch.stack(parts).sum() / sum(weights)
        return total


class _CaseMetric(Metric):
    """Keeps a value for each case and each class save the background."""

    full_state_update = False

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.values: list[Tensor]
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, output: Tensor, y: Tensor) -> None:
        """Takes scores [B, K, ...] and classes [B, ...], which may know their affine.

        Of outputs of deep supervision [B, S, K, ...] the first counts.
        """
        if output.dim() == y.dim() + 2:
            output = output[:, 0]
        spacing = None
        if isinstance(y, MetaTensor):
            spacing, y = [float(side) for side in y.pixdim], y.as_tensor()
        predicted = self._one_hot(output.argmax(1))
        self.values.append(self._score(predicted, self._one_hot(y), spacing))

    def _score(self, predicted: Tensor, truth: Tensor, spacing: Sequence[float] | None) -> Tensor:
        raise NotImplementedError

    def _one_hot(self, y: Tensor) -> Tensor:
        return nn.functional.one_hot(y, self.classes).movedim(-1, 1)

    def each(self) -> Tensor:
        """[N, K - 1]: NaN where a case has none of a class."""
        return dim_zero_cat(self.values)

    def compute(self) -> Tensor:
        """The mean over cases and classes that are present."""
        return self.each().nanmean()


class Dice(_CaseMetric):
    """Mean Dice over foreground classes and cases; a class that a case lacks does not count."""

    higher_is_better = True

    def _score(self, predicted: Tensor, truth: Tensor, spacing: Sequence[float] | None) -> Tensor:
        found: Tensor = compute_dice(predicted, truth, include_background=False)
        return found.float()


class HD95(_CaseMetric):
    """Mean 95 % Hausdorff distance in millimetres over foreground classes and cases.

    A class of which nothing was found is as far off as the volume is long; one that a case lacks
    does not count.

    Args:
        classes: Number of classes, the background among them.
        spacing: Millimetres of a voxel's sides, where the classes do not know theirs.
    """

    higher_is_better = False

    def __init__(self, classes: int, spacing: Sequence[float]) -> None:
        super().__init__(classes)
        self.spacing = tuple(spacing)

    def _score(self, predicted: Tensor, truth: Tensor, spacing: Sequence[float] | None) -> Tensor:
        spacing = spacing or self.spacing
        with warnings.catch_warnings():
            # MONAI 1.6 warns of an argument of its own, and of empty masks, which count below.
            warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
            warnings.filterwarnings("ignore", ".* of class .* is all 0", UserWarning)
            found: Tensor = compute_hausdorff_distance(
                predicted, truth, include_background=False, percentile=95, spacing=spacing
            ).float()
        sides = [n * s for n, s in zip(truth.shape[2:], spacing, strict=True)]
        present = truth[:, 1:].flatten(2).any(2)
        missed = ~predicted[:, 1:].flatten(2).any(2)
        found = found.masked_fill(present & missed, math.hypot(*sides))
        return found.masked_fill(~present, math.nan)


@dataclass(frozen=True)
class WholeVolume:
    """Runs a network over a whole volume: at once where it is small, else in windows.

    Attributes:
        window: Sides of a window, of a slice's where ``axis`` is given.
        most: Voxels of a volume, or of a slice, that go through at once.
        axis: The one that slices lie across, which go through a 2D network one by one; None where
            the network takes volumes.
    """

    window: tuple[int, ...]
    most: int
    axis: int | None = None

    @classmethod
    def of(cls, preprocess: Mapping[str, Any]) -> "WholeVolume":
        """As a task says how its data is prepared."""
        return cls(tuple(preprocess["window"]), preprocess["most"], preprocess.get("axis"))

    def __call__(self, network: nn.Module, x: Tensor) -> Tensor:
        """x [1, C, ...] -> scores [1, K, ...].

        Raises:
            UsageError: The network does not give a score for each voxel.
        """
        if self.axis is None:
            return self._whole(network, x)
        slices, alone = x[0].movedim(1 + self.axis, 0), replace(self, axis=None)
        together = max(1, AT_ONCE // math.prod(map(padded, slices.shape[2:])))
        scores = torch.cat([alone(network, part) for part in torch.split(slices, together)])
        return scores.movedim(0, 1 + self.axis)[None]

    def _whole(self, network: nn.Module, x: Tensor) -> Tensor:
        sides = x.shape[2:]
        if math.prod(map(padded, sides)) <= self.most:
            by = [padded(side) - side for side in sides]
            around = [n for extra in reversed(by) for n in (extra // 2, extra - extra // 2)]
            # The edge goes on, as in patches that are larger than their volume.
            output: Any = network(nn.functional.pad(x, around, mode="replicate"))
            if output.shape[2:] != tuple(map(padded, sides)):
                raise UsageError(
                    f"The network returns {tuple(output.shape)} for an input of "
                    f"{tuple(x.shape)}: a segmentation asks for a class for each voxel."
                )
            inside = (slice(n // 2, n // 2 + side) for n, side in zip(by, sides, strict=True))
            return output[(slice(None), slice(None), *inside)]  # type: ignore[no-any-return]
        # Alone, a window of few channels misses oneDNN's convolutions, which torch takes for
        # larger inputs, and takes up to six times as long.
        together = max(2, AT_ONCE // math.prod(self.window))
        output = sliding_window_inference(
            x, self.window, together, network,
            overlap=0.5, mode="gaussian", padding_mode="replicate",
        )  # fmt: skip
        return output  # type: ignore[no-any-return]

    def passes(self, sides: Sequence[int]) -> int:
        """How many windows a volume takes."""
        if self.axis is not None:
            plane = [side for axis, side in enumerate(sides) if axis != self.axis]
            return int(sides[self.axis]) * replace(self, axis=None).passes(plane)
        if math.prod(map(padded, sides)) <= self.most:
            return 1
        steps = (max(1, window // 2) for window in self.window)
        return math.prod(
            1 + max(0, math.ceil((side - window) / step))
            for side, window, step in zip(sides, self.window, steps, strict=True)
        )


def padded(side: int) -> int:
    """The multiple of :data:`STEP` that a side is padded to."""
    return -(-side // STEP) * STEP
