"""Candidates: the operations that an edge of a cell may take, in 1, 2 or 3 dimensions."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ..core.errors import UsageError

Candidate = Callable[[int, int, bool, int], nn.Module]
"""(channels, stride, affine, dims) -> module from [B, channels, ...] to [B, channels, ...]."""


class AvgPool3d(nn.AvgPool3d):
    """Torch's, which refuses sides below the window, as those of a small volume come to be.

    There it is a mean over the last two sides, then one over the first: windows are boxes, so the
    counts that leave the padding out multiply.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, D, H, W] -> [B, C, ...]."""
        k, s, p = int(self.kernel_size), int(self.stride), int(self.padding)  # type: ignore[arg-type]
        if min(x.shape[2:]) >= k:
            return super().forward(x)
        pool = partial(
            nn.functional.avg_pool2d,
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
        )
        planes: Tensor = pool(x.flatten(1, 2), k, s, p)
        sides = planes.shape[2:]
        out: Tensor = pool(planes.reshape(*x.shape[:3], -1), (k, 1), (s, 1), (p, 0))
        return out.reshape(*out.shape[:3], *sides)


CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: AvgPool3d}


def check_dims(dims: int) -> int:
    """Returns dims if it is 1, 2 or 3; a UsageError otherwise."""
    if dims not in CONV:
        raise UsageError(f"dims={dims} is not possible: cells have 1, 2 or 3 dimensions.")
    return dims


def avg_pool(stride: int, dims: int) -> nn.Module:
    """Mean of a window of 3 that leaves the padding out of the count."""
    pool: nn.Module = AVG_POOL[dims](3, stride, padding=1, count_include_pad=False)
    return pool


class Zero(nn.Module):
    """The candidate ``none``: zeros of the output's shape, through which no gradient flows."""

    def __init__(self, stride: int, dims: int) -> None:
        super().__init__()
        self.stride, self.dims = stride, dims

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> zeros [B, C, ceil(... / stride)]."""
        at = (slice(None), slice(None)) + (slice(None, None, self.stride),) * self.dims
        return torch.zeros_like(x[at])


class FactorizedReduce(nn.Module):
    """Halves every side without losing half of the input: two 1x1 convolutions.

    The first reads every even position, the second every odd one (Liu et al. 2019); an odd side
    is padded by one zero at its end, so that both see the same number of positions.
    """

    def __init__(self, c_in: int, c_out: int, affine: bool, dims: int) -> None:
        super().__init__()
        self.dims = dims
        self.first = CONV[dims](c_in, c_out - c_out // 2, 1, bias=False)
        self.second = CONV[dims](c_in, c_out // 2, 1, bias=False)
        self.norm = NORM[dims](c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """[B, c_in, ...] -> [B, c_out, ceil(... / 2)]."""
        normed: Tensor = self.norm(self.before_norm(x))
        return normed

    def before_norm(self, x: Tensor) -> Tensor:
        """What the batch norm gets: the two convolutions' channels, [B, c_out, ceil(... / 2)]."""
        # Strides are taken here: in the gradient of a strided 1x1 convolution of few channels in
        # channels-last, oneDNN (of torch 2.13) writes beyond its memory.
        x = x.relu()
        even = x[(slice(None), slice(None)) + (slice(0, None, 2),) * self.dims]
        odd = x[(slice(None), slice(None)) + (slice(1, None, 2),) * self.dims]
        pads = [p for side in reversed(x.shape[2:]) for p in (0, side % 2)]
        if any(pads):
            odd = nn.functional.pad(odd, pads)
        return torch.cat([self.first(even), self.second(odd)], 1)


def relu_conv_norm(
    c_in: int, c_out: int, kernel: int, affine: bool, dims: int, stride: int = 1
) -> nn.Sequential:
    """ReLU, convolution, batch norm: a cell's preprocessing and NAS-Bench-201's candidates."""
    return nn.Sequential(
        nn.ReLU(),
        CONV[dims](c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        NORM[dims](c_out, affine=affine),
    )


def _separable(
    kernel: int, stride: int, dilation: int, c: int, affine: bool, dims: int
) -> list[nn.Module]:
    return [
        nn.ReLU(),
        CONV[dims](
            c,
            c,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=c,
            bias=False,
        ),
        CONV[dims](c, c, 1, bias=False),
        NORM[dims](c, affine=affine),
    ]


def none(c: int, stride: int, affine: bool, dims: int) -> nn.Module:
    """No connection."""
    return Zero(stride, dims)


def skip_connect(c: int, stride: int, affine: bool, dims: int) -> nn.Module:
    """The identity, or a factorized reduction at stride 2."""
    return nn.Identity() if stride == 1 else FactorizedReduce(c, c, affine, dims)


def max_pool_3x3(c: int, stride: int, affine: bool, dims: int) -> nn.Module:
    """Largest of a window of 3, then batch norm (as in DARTS' supernet, in plain networks too)."""
    return nn.Sequential(MAX_POOL[dims](3, stride, padding=1), NORM[dims](c, affine=affine))


def avg_pool_3x3(c: int, stride: int, affine: bool, dims: int) -> nn.Module:
    """Mean of a window of 3 without its padding, then batch norm (as :func:`max_pool_3x3`)."""
    return nn.Sequential(avg_pool(stride, dims), NORM[dims](c, affine=affine))


def avg_pool_3x3_plain(c: int, stride: int, affine: bool, dims: int) -> nn.Module:
    """Mean of a window of 3 without its padding (NAS-Bench-201)."""
    return avg_pool(stride, dims)


def sep_conv(kernel: int) -> Candidate:
    """Depthwise-separable convolution, applied twice, the first with the stride."""

    def make(c: int, stride: int, affine: bool, dims: int) -> nn.Module:
        return nn.Sequential(
            *_separable(kernel, stride, 1, c, affine, dims),
            *_separable(kernel, 1, 1, c, affine, dims),
        )

    return make


def dil_conv(kernel: int) -> Candidate:
    """Depthwise-separable convolution with dilation 2."""
    return lambda c, stride, affine, dims: nn.Sequential(
        *_separable(kernel, stride, 2, c, affine, dims)
    )


def conv(kernel: int) -> Candidate:
    """ReLU, full convolution, batch norm."""
    return lambda c, stride, affine, dims: relu_conv_norm(c, c, kernel, affine, dims, stride)


DARTS: Mapping[str, Candidate] = {
    "none": none,
    "max_pool_3x3": max_pool_3x3,
    "avg_pool_3x3": avg_pool_3x3,
    "skip_connect": skip_connect,
    "sep_conv_3x3": sep_conv(3),
    "sep_conv_5x5": sep_conv(5),
    "dil_conv_3x3": dil_conv(3),
    "dil_conv_5x5": dil_conv(5),
}
"""The 8 candidates of Liu et al. 2019, in their order."""

NASBENCH201: Mapping[str, Candidate] = {
    "none": none,
    "skip_connect": skip_connect,
    "nor_conv_1x1": conv(1),
    "nor_conv_3x3": conv(3),
    "avg_pool_3x3": avg_pool_3x3_plain,
}
"""The 5 candidates of Dong & Yang 2020, in their order."""
