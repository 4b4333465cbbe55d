"""The mixed edge in plain PyTorch: its branches, its formula, and maps in lanes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "BRANCHES",
    "LANES",
    "Branch",
    "counts_of",
    "formula",
    "lane_shape",
    "layout",
    "saved_like",
    "unpack",
]

LANES = 16
"""Channels (of several images where an image has few) that lie side by side in a saved map."""


@dataclass(frozen=True)
class Branch:
    """What one branch of an edge consists of.

    Attributes:
        kernel: Side of its window; 0 if it has none.
        dilation: Of a separable convolution.
        stages: Convolutions, each after a ReLU and before a batch norm.
        params: Weight tensors.
        norms: Batch norms.
    """

    kernel: int = 0
    dilation: int = 1
    stages: int = 0
    params: int = 0
    norms: int = 0


BRANCHES: dict[str, Branch] = {
    "none": Branch(),
    "skip": Branch(),
    "reduce": Branch(1, 1, 1, 2, 1),
    "max_pool": Branch(3, norms=1),
    "avg_pool": Branch(3, norms=1),
    "avg_pool_plain": Branch(3),
    "sep_conv_3": Branch(3, 1, 2, 4, 2),
    "sep_conv_5": Branch(5, 1, 2, 4, 2),
    "dil_conv_3": Branch(3, 2, 1, 2, 1),
    "dil_conv_5": Branch(5, 2, 1, 2, 1),
    "conv_1": Branch(1, 1, 1, 1, 1),
    "conv_3": Branch(3, 1, 1, 1, 1),
}
"""Name -> branch. The code of a branch in an op's arguments is its place in this table."""

NAMES = tuple(BRANCHES)


def lane_shape(x: Tensor) -> tuple[int, int, int]:
    """Returns (images in the lanes of one group, groups, blocks of lanes) of a map [B, C, ...]."""
    batch, channels = x.shape[:2]
    pack = max(1, LANES // channels)
    return pack, -(-batch // pack), -(-channels // LANES)


@functools.cache
def counts_of(codes: tuple[int, ...]) -> tuple[int, int]:
    """The batch norms and the convolution stages of an edge with these branches."""
    table = [BRANCHES[NAMES[code]] for code in codes]
    return sum(b.norms for b in table), sum(b.stages for b in table)


def saved_like(x: Tensor, y: Tensor, stages: int) -> Tensor:
    """Returns an empty tensor like x for the maps, of the size of y, that the backward needs."""
    _, groups, blocks = lane_shape(y)
    return x.new_empty((stages, groups, blocks, y.shape[2] * y.shape[3], LANES))


def layout(x: Tensor) -> Tensor:
    """Returns a map [B, C, H, W] in lanes: [groups, blocks, H * W, LANES], zero where empty."""
    batch, channels, height, width = x.shape
    pack, groups, blocks = lane_shape(x)
    x = F.pad(x.flatten(2), (0, 0, 0, 0, 0, groups * pack - batch))
    x = x.reshape(groups, pack * channels, height * width)
    x = F.pad(x, (0, 0, 0, blocks * LANES - pack * channels))
    return x.reshape(groups, blocks, LANES, -1).transpose(2, 3).contiguous()


def unpack(z: Tensor, like: Tensor) -> Tensor:
    """Returns a map in lanes as [B, C, H, W], the shape of ``like``."""
    batch, channels = like.shape[:2]
    pack, groups, blocks = lane_shape(like)
    z = z.transpose(2, 3).reshape(groups, blocks * LANES, -1)[:, : pack * channels]
    return z.reshape(groups * pack, channels, -1)[:batch].reshape(like.shape)


def separable(u: Tensor, params: Sequence[Tensor], stride: int, dilation: int) -> Tensor:
    """Depthwise, then pointwise convolution."""
    depthwise, pointwise = params
    padding = dilation * (depthwise.shape[-1] // 2)
    return F.conv2d(F.conv2d(u, depthwise, None, stride, padding, dilation, u.shape[1]), pointwise)


def dense(u: Tensor, params: Sequence[Tensor], stride: int) -> Tensor:
    """Full convolution."""
    return F.conv2d(u, params[0], None, stride, params[0].shape[-1] // 2)


def reduction(u: Tensor, params: Sequence[Tensor]) -> Tensor:
    """Two 1x1 convolutions, of the even and of the odd positions (Liu et al. 2019)."""
    return torch.cat([F.conv2d(v, p) for v, p in zip(halves(u), params, strict=True)], 1)


def halves(u: Tensor) -> tuple[Tensor, Tensor]:
    """The even and the odd positions of an image, the odd ones padded where its sides are odd."""
    pads = (0, u.shape[-1] % 2, 0, u.shape[-2] % 2)
    return u[..., ::2, ::2], F.pad(u[..., 1::2, 1::2], pads)


def max_pool(x: Tensor, stride: int) -> Tensor:
    """Largest of a 3x3 window."""
    return F.max_pool2d(x, 3, stride, 1)


def avg_pool(x: Tensor, stride: int) -> Tensor:
    """Mean of a 3x3 window without its padding."""
    return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)


Norm = Callable[[Tensor], Tensor]
"""The next batch norm of an edge, called in order."""


def branch_output(
    name: str, x: Tensor, params: Sequence[Tensor], stride: int, norm: Norm
) -> Tensor:
    """Returns a branch's output on x; ``norm`` is called once for each of its batch norms."""
    branch = BRANCHES[name]
    if name == "skip":
        return x
    if name == "max_pool":
        return norm(max_pool(x, stride))
    if name == "avg_pool":
        return norm(avg_pool(x, stride))
    if name == "avg_pool_plain":
        return avg_pool(x, stride)
    if name == "reduce":
        return norm(reduction(x.relu(), params))
    if branch.params == 1:
        return norm(dense(x.relu(), params, stride))
    x = norm(separable(x.relu(), params[:2], stride, branch.dilation))
    if branch.stages == 2:
        x = norm(separable(x.relu(), params[2:], 1, branch.dilation))
    return x


def formula(
    x: Tensor,
    w: Tensor,
    params: Sequence[Tensor],
    branches: Sequence[int],
    stride: int,
    mean: Tensor | None,
    var: Tensor | None,
    training: bool,
    eps: float,
    keep: Callable[[str, Tensor], None] | None = None,
) -> Tensor:
    """Returns the weighted sum of the branches; differentiable any number of times.

    Args:
        x: [B, C, H, W].
        w: [K].
        params: Weights of all branches in order.
        branches: [K] codes.
        stride: 1 or 2.
        mean: [norms, C], used in evaluation.
        var: [norms, C], used in evaluation.
        training: Whether batch norms use the statistics of the batch.
        eps: Of the batch norms.
        keep: Called with ("pool" or "stage", input) for each batch norm, in order.

    Returns:
        [B, C, ceil(H / stride), ceil(W / stride)].
    """
    total = None
    row = at = 0
    for k, code in enumerate(branches):
        name = NAMES[code]
        branch = BRANCHES[name]

        def norm(z: Tensor, kind: str = "stage" if branch.stages else "pool") -> Tensor:
            nonlocal row
            if keep is not None:
                keep(kind, z)
            row += 1
            if training:
                return F.batch_norm(z, None, None, training=True, eps=eps)
            assert mean is not None and var is not None
            return F.batch_norm(z, mean[row - 1], var[row - 1], training=False, eps=eps)

        if name != "none":
            out = branch_output(name, x, params[at : at + branch.params], stride, norm)
            total = w[k] * out if total is None else total + w[k] * out
        at += branch.params
    if total is None:
        total = torch.zeros_like(x[..., ::stride, ::stride])
    return total
