"""Convolutions of the supernet of DiNTS, laid out channels-last so that each meets a fast kernel.

On a CPU a 3D kernel with a side of one is seen as a 2D convolution of the same memory: voxels of
neighbouring dims merge into one, and a step along the outer of them is a dilation. That is exact,
as the zeros beyond an end lie beyond the merged end too, and torch's 2D convolutions are faster
than its 3D ones of such kernels.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

__all__ = ["channels_last", "grad_input", "grad_weight", "run"]

Kernel = Sequence[int]


def channels_last(x: Tensor) -> Tensor:
    """The tensor [B, C, ...] with its channels innermost; itself where they are."""
    form = torch.channels_last_3d if x.dim() == 5 else torch.channels_last
    return x.contiguous(memory_format=form)


def run(x: Tensor, weight: Tensor) -> Tensor:
    """The convolution without bias of x [B, C, ...] that keeps its size; odd kernels."""
    seen = _Seen(x, weight.shape[2:])
    w = seen.weight(weight)
    n = len(seen.kernel)
    out = torch.convolution(
        seen.view(x), w, None, (1,) * n, seen.padding, seen.dilation, False, (0,) * n, 1
    )
    return seen.back(out)


def grad_input(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the input; of x only the shape is read."""
    return _backward(g, x, weight, (True, False, False))


def grad_weight(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the weight [c_out, c_in, ...], of which only the shape is read."""
    kernel = weight.shape[2:]
    # As measured: torch's own is the faster one for few channels, where a row of voxels is whole.
    whole = len(kernel) < 3 or (min(kernel[1:]) > 1 and weight.shape[0] < 100)
    if g.is_cuda or whole:
        return _backward(g, x, weight, (False, True, False))
    return _by_products(g, x, weight)


def _backward(g: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> Tensor:
    seen = _Seen(x, weight.shape[2:])
    n = len(seen.kernel)
    found = torch.ops.aten.convolution_backward(
        seen.view(g), seen.view(x), seen.weight(weight), None, (1,) * n, seen.padding,
        seen.dilation, False, (0,) * n, 1, wanted,
    )  # fmt: skip
    result: Tensor = seen.back(found[0]) if wanted[0] else found[1].reshape(weight.shape)
    return result


class _Seen:
    """How a tensor [B, C, D, H, W] is seen by a kernel: as it is, or with two sides merged.

    Attributes:
        kernel: Of the convolution that runs.
        merged: Whether it is 2D over merged sides.
    """

    def __init__(self, x: Tensor, kernel: Kernel) -> None:
        self.shape = x.shape
        self.kernel: tuple[int, ...] = tuple(kernel)
        self.dilation: tuple[int, ...] = (1,) * len(kernel)
        self.merged = len(kernel) == 3 and not x.is_cuda and self._merge()
        self.padding = tuple(k // 2 * d for k, d in zip(self.kernel, self.dilation, strict=True))

    def _merge(self) -> bool:
        b, _, d, h, w = self.shape
        kd, kh, kw = self.kernel
        if kd == 1:
            self.sides = (b, d * h, w) if kh == 1 else (b * d, h, w)
            self.kernel, self.dilation = (kh, kw), (1, 1)
        elif kw == 1:
            # A step along H is one of W voxels along the merged side.
            self.sides = (b, d, h * w)
            self.kernel, self.dilation = (kd, kh), (1, w if kh > 1 else 1)
        else:
            return False
        return True

    def view(self, x: Tensor) -> Tensor:
        """x as the convolution takes it."""
        x = channels_last(x)
        if not self.merged:
            return x
        flat = x.permute(0, 2, 3, 4, 1).view(*self.sides, x.shape[1])
        return flat.permute(0, 3, 1, 2)

    def weight(self, weight: Tensor) -> Tensor:
        """The weight as the convolution takes it."""
        return channels_last(weight.reshape(*weight.shape[:2], *self.kernel))

    def back(self, out: Tensor) -> Tensor:
        """What the convolution gave, with all sides."""
        if not self.merged:
            return channels_last(out)
        b, _, d, h, w = self.shape
        flat = channels_last(out).permute(0, 2, 3, 1)
        return flat.reshape(b, d, h, w, out.shape[1]).permute(0, 4, 1, 2, 3)


def _by_products(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the weight as one matrix product for each place of the kernel.

    Zeros behind the end of each side are what places beyond either end meet, so that a place is
    one offset in memory.
    """
    (c_out, c_in), kernel = weight.shape[:2], weight.shape[2:]
    ends = [k // 2 for k in kernel]

    def padded(t: Tensor) -> Tensor:
        flat = t.permute(0, 2, 3, 4, 1)
        if any(ends):
            flat = torch.nn.functional.pad(flat, (0, 0, 0, ends[2], 0, ends[1], 0, ends[0]))
        return flat.reshape(-1, t.shape[1])

    gp, xp = padded(g), padded(x)
    row = x.shape[4] + ends[2]
    steps = (row * (x.shape[3] + ends[1]), row, 1)
    # Laid out as the weight is, channels innermost.
    found = g.new_empty(c_out, *kernel, c_in)
    for i, j, k in product(*map(range, kernel)):
        offset = sum((p - e) * s for p, e, s in zip((i, j, k), ends, steps, strict=True))
        a, z = max(0, -offset), len(gp) - max(0, offset)
        torch.mm(gp[a:z].t(), xp[a + offset : z + offset], out=found[:, i, j, k])
    return found.permute(0, 4, 1, 2, 3)
