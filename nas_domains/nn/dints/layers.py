"""Layers of DiNTS networks, with the names and the order of parameters that MONAI's have."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "CANDIDATES",
    "Cell",
    "ConvUnit",
    "Increase",
    "Kernels",
    "Reduce",
    "stem_down",
    "stem_up",
]

Kernels = tuple[tuple[int, ...], ...]
"""The kernels of convolutions one after the other; none is the skip connection."""

CANDIDATES: dict[int, dict[str, Kernels]] = {
    2: {"skip_connect": (), "conv_3x3": ((3, 3),)},
    3: {
        "skip_connect": (),
        "conv_3x3x3": ((3, 3, 3),),
        "conv_3x3x1": ((3, 3, 1), (1, 1, 3)),
        "conv_3x1x3": ((3, 1, 3), (1, 3, 1)),
        "conv_1x3x3": ((1, 3, 3), (3, 1, 1)),
    },
}
"""Dims -> name -> kernels, in MONAI's order."""

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, Any] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
MODE = {2: "bilinear", 3: "trilinear"}


def conv(dims: int, c_in: int, c_out: int, kernel: Sequence[int], stride: int = 1) -> nn.Module:
    """A convolution without bias that keeps the size, or halves it."""
    made: nn.Module = CONV[dims](
        c_in, c_out, tuple(kernel), stride, tuple(k // 2 for k in kernel), bias=False
    )
    return made


def norm(dims: int, channels: int) -> nn.Module:
    """An instance norm with affine parameters."""
    made: nn.Module = NORM[dims](channels, affine=True)
    return made


class ConvUnit(nn.Sequential):
    """ReLU, one or two convolutions without anything between them, instance norm."""

    def __init__(self, dims: int, channels: int, kernels: Kernels) -> None:
        super().__init__()
        self.kernels = kernels
        self.add_module("acti", nn.ReLU())
        for i, kernel in enumerate(kernels):
            self.add_module(f"conv_{i}" if i else "conv", conv(dims, channels, channels, kernel))
        self.add_module("norm", norm(dims, channels))


class Increase(nn.Sequential):
    """Doubles the resolution by linear interpolation; ReLU, 1x1 convolution, norm."""

    def __init__(self, dims: int, c_in: int, c_out: int) -> None:
        super().__init__()
        self.add_module("up", nn.Upsample(scale_factor=2, mode=MODE[dims], align_corners=True))
        self.add_module("acti", nn.ReLU())
        self.add_module("conv", conv(dims, c_in, c_out, (1,) * dims))
        self.add_module("norm", norm(dims, c_out))


class Reduce(nn.Module):
    """Halves the resolution: ReLU, two 1x1 convolutions of stride 2, one voxel apart, norm."""

    def __init__(self, dims: int, c_in: int, c_out: int) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.conv_1 = conv(dims, c_in, c_out // 2, (1,) * dims, 2)
        self.conv_2 = conv(dims, c_in, c_out - c_out // 2, (1,) * dims, 2)
        self.norm = norm(dims, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] of even sides -> [B, c_out, ...] of half of them."""
        x = self.act(x)
        out: Tensor = self.norm(torch.cat([self.conv_1(x), self.conv_2(shifted(x))], 1))
        return out


def shifted(x: Tensor) -> Tensor:
    """All but the first voxel of each side."""
    return x[(slice(None), slice(None), *(slice(1, None),) * (x.dim() - 2))]


class _Sum(nn.Module):
    """The candidates of a path; MONAI's MixedOp without weights."""

    def __init__(self, dims: int, channels: int, candidates: Sequence[Kernels]) -> None:
        super().__init__()
        self.ops = nn.ModuleList(
            [ConvUnit(dims, channels, k) if k else nn.Identity() for k in candidates]
        )


class Cell(nn.Module):
    """What a path does: it brings its input to its resolution, then runs a candidate.

    Args:
        dims: 2 or 3.
        c_in: Channels of the source.
        c_out: Channels of the target.
        rate: See :class:`nas_domains.nn.dints.topology.Path`.
        candidates: The kernels of each candidate.
    """

    def __init__(
        self, dims: int, c_in: int, c_out: int, rate: int, candidates: Sequence[Kernels]
    ) -> None:
        super().__init__()
        self.preprocess: nn.Module = nn.Identity()
        if rate:
            self.preprocess = (Increase if rate > 0 else Reduce)(dims, c_in, c_out)
        self.op = _Sum(dims, c_out, candidates)

    def forward(self, x: Tensor, index: int = 0) -> Tensor:
        """[B, c_in, ...] -> [B, c_out, ...], by one candidate."""
        out: Tensor = self.op.ops[index](self.preprocess(x))
        return out


class _Stem(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.mod = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mod(x)
        return out


def _resized(dims: int, factor: float) -> nn.Module:
    return nn.Upsample(scale_factor=factor, mode=MODE[dims], align_corners=True)


def stem_down(dims: int, c_in: int, filters: Sequence[int], depth: int, down: bool) -> nn.Module:
    """What a resolution's input is made by from the image."""
    k, f = (3,) * dims, filters
    layers = [_resized(dims, 1 / 2**depth), conv(dims, c_in, f[depth], k), norm(dims, f[depth])]
    if down:
        half = conv(dims, f[depth], f[depth + 1], k, 2)
        layers += [nn.ReLU(), half, norm(dims, f[depth + 1])]
    return _Stem(*layers)


def stem_up(dims: int, filters: Sequence[int], depth: int, down: bool) -> nn.Module:
    """What a resolution's output goes to the next finer one by, or the finest to the image's."""
    k, f = (3,) * dims, filters
    c_in, c_out = (f[depth + 1], f[depth]) if down else (f[depth], f[max(depth - 1, 0)])
    last = _resized(dims, 2 if down or depth else 1)
    return _Stem(nn.ReLU(), conv(dims, c_in, c_out, k), norm(dims, c_out), last)
