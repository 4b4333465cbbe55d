"""The mixed edge on a GPU, composed of kernels that each do one part of all its branches.

All depthwise convolutions and pools that read x are one kernel (``depthwise_bank``), the pointwise
ones after them another (``kernels/pointwise.py``), which also measures what it makes. The second
stages of separable convolutions norm their input while they read it. ``norm_weighted_sum`` ends
the forward. The backward makes depthwise outputs and pools again.

As on the CPU only x and one map a convolution are kept. Nothing waits for the device, so that a
CUDA graph can hold it all. Maps are [pixels, C]: channels-last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..kernels import pointwise
from .mixed_edge import output_like
from .mixed_edge_reference import BRANCHES, NAMES, dense, reduction, saved_like

__all__ = ["Edge", "Stage", "affine", "forward"]

_ops: Any = torch.ops.nas_domains


@dataclass(frozen=True)
class Stage:
    """One convolution: its branch, its place in z, its first weight, its batch norm."""

    name: str
    branch: int
    place: int
    param: int
    norm: int
    second: bool


class Edge:
    """An edge's branches and tensors, as both passes see them."""

    def __init__(
        self, x: Tensor, w: Tensor, params: list[Tensor], branches: list[int], stride: int
    ) -> None:
        self.x = x.contiguous(memory_format=torch.channels_last)
        self.w, self.params, self.stride = w, params, stride
        self.names = [NAMES[code] for code in branches]
        self.y = output_like(x, stride)
        self.pixels = self.y.numel() // self.y.shape[1]
        self.stages: list[Stage] = []
        self.norm_of: list[int] = []  # the last batch norm of each branch, or -1
        norm = param = 0
        for k, name in enumerate(self.names):
            branch = BRANCHES[name]
            for s in range(branch.stages):
                place = len(self.stages)
                self.stages.append(Stage(name, k, place, param + 2 * s, norm + s, s > 0))
            param += branch.params
            norm += branch.norms
            self.norm_of.append(norm - 1 if branch.norms else -1)
        self.norms = norm
        separable = [s for s in self.stages if s.name.startswith(("sep", "dil"))]
        self.first = [s for s in separable if not s.second]
        self.second = [s for s in separable if s.second]
        self.dense = [s for s in self.stages if s not in separable]
        self.pools = any("pool" in name for name in self.names)
        # Everything but ``none``: it adds nothing.
        self.adding = [k for k, name in enumerate(self.names) if name != "none"]
        self.normed = [k for k in self.adding if self.norm_of[k] >= 0]

    def rows(self, image: Tensor) -> Tensor:
        """[B, C, H, W] in channels-last as [pixels, C]."""
        return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])

    def image(self, rows: Tensor) -> Tensor:
        """The reverse, for a map of the output's size."""
        batch, channels, height, width = self.y.shape
        return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def several(self, rows: Tensor) -> Tensor:
        """[n, pixels, C] as [n, B, H, W, C]."""
        batch, channels, height, width = self.y.shape
        return rows.view(-1, batch, height, width, channels)

    def windows(self, stages: list[Stage]) -> tuple[list[Tensor], list[int]]:
        """Depthwise weights and dilations."""
        return [self.params[s.param] for s in stages], [BRANCHES[s.name].dilation for s in stages]

    def matrices(self, stages: list[Stage]) -> Tensor:
        """Pointwise weights [n, C, C]."""
        return torch.stack([self.params[s.param + 1].flatten(1) for s in stages])

    def z_of(self, saved: Tensor) -> Tensor:
        """The maps of all stages [stages, pixels, C] in the memory of the CPU's layout of them."""
        shape = len(self.stages), self.pixels, self.y.shape[1]
        return saved.flatten(1)[:, : shape[1] * shape[2]].view(shape)

    def depthwise(self, stages: list[Stage], pools: bool) -> tuple[Tensor, Tensor]:
        """Depthwise outputs of first stages [n, pixels, C], and both pools [2, pixels, C]."""
        if not stages and not pools:
            return (self.x.new_empty(0, self.pixels, self.x.shape[1]),) * 2
        windows = self.windows(stages)
        d, p = _ops.depthwise_bank_fwd(self.x, None, None, *windows, self.stride, pools)
        return d.flatten(1, 3), p.flatten(1, 3)

    def depthwise_second(self, stage: Stage, z: Tensor, norm: Sequence[Tensor]) -> Tensor:
        """Depthwise output [1, pixels, C] of a second stage: ``norm`` is of its input."""
        u = self.image(z[stage.place - 1])
        d, _ = _ops.depthwise_bank_fwd(u, *norm, *self.windows([stage]), 1, False)
        flat: Tensor = d.flatten(1, 3)
        return flat

    def outputs(self, p: Tensor, z: Tensor) -> list[Tensor]:
        """What each adding branch gives to its batch norm, or adds: [pixels, C]."""
        last = {s.branch: z[s.place] for s in self.stages}
        return [
            last[k]
            if k in last
            else self.rows(self.x)
            if self.names[k] == "skip"
            else p[int(self.names[k] != "max_pool")]
            for k in self.adding
        ]


def affine(mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """A batch norm as (scale, bias)."""
    scale = (var + eps).rsqrt()
    return scale, -mean * scale


def _measure(rows: Tensor) -> tuple[Tensor, Tensor]:
    var, mean = torch.var_mean(rows, 0, correction=0)
    return mean, var


def forward(
    x: Tensor,
    w: Tensor,
    params: list[Tensor],
    branches: list[int],
    stride: int,
    mean: Tensor,
    var: Tensor,
    training: bool,
    eps: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Host function of the op ``nas_domains::mixed_edge_fwd``."""
    edge = Edge(x, w, params, branches, stride)
    saved = saved_like(x, edge.y, len(edge.stages))
    z = edge.z_of(saved)
    stats: dict[int, Sequence[Tensor]] = {}
    if not training:
        stats = dict(enumerate(zip(mean, var, strict=True)))

    def multiply(stages: list[Stage], d: Tensor) -> None:
        places = tuple(s.place for s in stages)
        found = pointwise.forward(d, edge.matrices(stages), z, places, training)
        if training:
            stats.update(zip([s.norm for s in stages], zip(*found, strict=True), strict=True))

    d, p = edge.depthwise(edge.first, edge.pools)
    if edge.first:
        multiply(edge.first, d)
    for stage in edge.second:
        mean_before, var_before = stats[stage.norm - 1]
        norm = affine(mean_before, var_before, eps)
        multiply([stage], edge.depthwise_second(stage, z, norm))
    for stage in edge.dense:
        weights = params[stage.param : stage.param + BRANCHES[stage.name].params]
        u = edge.x.relu()
        out = reduction(u, weights) if stage.name == "reduce" else dense(u, weights, stride)
        z[stage.place] = edge.rows(out)
    outputs = edge.outputs(p, z)
    if training:
        for k, rows in zip(edge.adding, outputs, strict=True):
            row = edge.norm_of[k]
            if row >= 0 and row not in stats:
                stats[row] = _measure(rows)
        empty = x.new_empty((0, x.shape[1]))
        mean, var = (
            torch.stack([stats[n][i] for n in range(edge.norms)]) if stats else empty.clone()
            for i in (0, 1)
        )
    y = _combine(edge, outputs, mean, var, eps)
    return (
        y,
        mean if training else x.new_empty((0, x.shape[1])),
        var if training else x.new_empty((0, x.shape[1])),
        saved if keep else saved_like(x, y, 0),
    )


def _combine(edge: Edge, outputs: list[Tensor], mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """The weighted sum of all branches, normed by given statistics."""
    if not outputs:
        return edge.y.zero_()
    normed = [edge.norm_of[k] for k in edge.normed]
    means, variances = (
        torch.stack([t[n] for n in normed]) if normed else t.new_empty((0, edge.y.shape[1]))
        for t in (mean, var)
    )
    y, _, _ = _ops.norm_weighted_sum_fwd(
        [edge.image(rows) for rows in outputs],
        torch.stack([edge.w[k] for k in edge.adding]),
        [k in edge.normed for k in edge.adding],
        means,
        variances,
        eps,
    )
    out: Tensor = y if y.stride() == edge.y.stride() else edge.y.copy_(y)
    return out
