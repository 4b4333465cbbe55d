"""U-Nets of MONAI blocks, in all the shapes that the space ``unet`` holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.networks.blocks import Convolution, ResidualUnit, UpSample
from monai.networks.nets.attentionunet import AttentionBlock
from torch import Tensor, nn

from ..nn.single import single

Sides = tuple[int, ...]

_LEAST = 4
"""A side is not halved below so many voxels of the input that a network is built for."""

_FINE = 2
"""Least channels at full resolution where the levels begin at half of it; one a class else."""


@dataclass(frozen=True)
class Level:
    """One resolution of a U-Net.

    Attributes:
        width: Channels.
        blocks: Blocks of the encoder; the decoder has one.
        kernel: Of the blocks, save the encoder's first, which is 3 at least as it may stride.
    """

    width: int
    blocks: int
    kernel: int


@dataclass(frozen=True)
class Shape:
    """What an architecture says.

    Attributes:
        levels: From the finest to the coarsest, two or more.
        half: Whether the finest level has half the resolution of the input.
        norm: "instance" or "batch".
        residual: Whether blocks are MONAI's residual units instead of plain convolutions.
        attention: Whether skip connections pass gates (Oktay et al. 2018, arXiv 1804.03999).
        deep: Whether coarser decoder levels are trained on the truth too (Lee et al. 2015).
    """

    levels: tuple[Level, ...]
    half: bool
    norm: str
    residual: bool
    attention: bool
    deep: bool


class UNet(nn.Module):
    """A U-Net whose skip connections are added, which keeps the decoder as small as the encoder.

    Sides that would become shorter than a few voxels are not halved, so flat volumes keep their
    slices. It takes inputs of any size.

    Args:
        shape: The architecture.
        input_shape: (C, ...) of the inputs it is built for, 2D or 3D.
        outputs: Classes.
    """

    def __init__(self, shape: Shape, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        c_in, sides = input_shape[0], input_shape[1:]
        self.dims = len(sides)
        self.shape = shape
        levels = shape.levels
        strides = _strides(sides, len(levels), shape.half)
        self.encoder = nn.ModuleList()
        width = c_in
        for level, stride in zip(levels, strides, strict=True):
            blocks = [self._block(width, level.width, max(3, level.kernel), stride)]
            for _ in range(level.blocks - 1):
                blocks.append(self._block(level.width, level.width, level.kernel))
            self.encoder.append(nn.Sequential(*blocks))
            width = level.width
        self.ups, self.gates, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for fine, coarse, stride in zip(levels, levels[1:], strides[1:], strict=False):
            self.ups.append(self._up(coarse.width, fine.width, stride))
            self.gates.append(self._gate(fine.width) if shape.attention else nn.Identity())
            self.decoder.append(self._block(fine.width, fine.width, fine.kernel))
        first = levels[0].width
        if shape.half:
            # The head costs the more the more channels it reads; one class follows from the rest.
            channels = max(_FINE, outputs - 1)
            self.last_up: nn.Module = self._up(first, channels, strides[0])
            # Each voxel sees one of the coarser; torch would draw weights for more, too small.
            nn.init.normal_(next(self.last_up.parameters()), std=(2 / first) ** 0.5)
            # The image itself brings back the detail that half the resolution lost.
            self.head = self._conv(channels + c_in, outputs, 3)
        else:
            self.head = self._conv(first, outputs, 1)
        deep = levels[1:-1] if shape.deep else ()
        self.deep_heads = nn.ModuleList([self._conv(level.width, outputs, 1) for level in deep])
        single(self)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, outputs, ...].

        In training with deep supervision [B, 1 + heads, outputs, ...]: first the output, then
        those of coarser levels, enlarged.
        """
        image, skips = x, []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        sides = image.shape[2:]
        coarser: list[Tensor] = []
        for i in reversed(range(len(self.decoder))):
            skip = skips[i]
            up = _cut(self.ups[i](x), skip.shape[2:])
            gate = self.gates[i]
            skip = skip if isinstance(gate, nn.Identity) else gate(g=up, x=skip)
            x = self.decoder[i](up + skip)
            if self.training and 0 < i <= len(self.deep_heads):
                coarser.insert(0, _enlarged(self.deep_heads[i - 1](x), sides))
        if self.shape.half:
            x = torch.cat([_cut(self.last_up(x), sides), image], 1)
        out: Tensor = self.head(x)
        return torch.stack([out, *coarser], 1) if coarser else out

    def _block(self, c_in: int, c_out: int, kernel: int, stride: Sides | int = 1) -> nn.Module:
        common = {
            "spatial_dims": self.dims,
            "in_channels": c_in,
            "out_channels": c_out,
            "strides": stride,
            "kernel_size": kernel,
            "adn_ordering": "NA",
            "norm": _norm(self.shape.norm),
            "act": ("leakyrelu", {"negative_slope": 0.01}),
            # The norm behind takes a bias away again.
            "bias": False,
        }
        block: nn.Module
        block = (
            ResidualUnit(subunits=1, **common) if self.shape.residual else Convolution(**common)
        )
        return block

    def _gate(self, width: int) -> nn.Module:
        gate: nn.Module = AttentionBlock(self.dims, max(1, width // 2), width, width)
        for module in gate.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                # Each is followed by a norm, which takes a bias away again.
                module.bias = None
        return gate

    def _up(self, c_in: int, c_out: int, stride: Sides) -> nn.Module:
        # Behind a kernel of 1 a norm would take a bias away again.
        up: nn.Module = UpSample(
            self.dims, c_in, c_out, scale_factor=stride, mode="deconv", bias=False
        )
        return up

    def _conv(self, c_in: int, c_out: int, kernel: int) -> nn.Module:
        conv: nn.Module = Convolution(self.dims, c_in, c_out, kernel_size=kernel, conv_only=True)
        return conv


def _norm(name: str) -> tuple[str, dict[str, bool]]:
    return name, {"affine": True}


def _strides(sides: Sequence[int], levels: int, half: bool) -> list[Sides]:
    """The strides with which each level begins, by side."""
    left, strides = list(sides), []
    for number in range(levels):
        wanted = 2 if number > 0 or half else 1
        stride = tuple(wanted if side >= 2 * _LEAST else 1 for side in left)
        left = [-(-side // s) for side, s in zip(left, stride, strict=True)]
        strides.append(stride)
    return strides


def _cut(x: Tensor, sides: Sequence[int]) -> Tensor:
    """Takes off what an odd side has too much after it was halved and doubled."""
    return x[(slice(None), slice(None), *(slice(side) for side in sides))]


def _enlarged(x: Tensor, sides: Sequence[int]) -> Tensor:
    mode = "trilinear" if len(sides) == 3 else "bilinear"
    return nn.functional.interpolate(x, tuple(sides), mode=mode)
