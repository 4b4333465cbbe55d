"""Backward of the mixed edge on a GPU; see ``mixed_edge_gpu``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..kernels import pointwise
from ..kernels.channels import channel_sums
from .mixed_edge_backward import conv_backward, reduction_backward
from .mixed_edge_gpu import Edge, Stage, affine
from .mixed_edge_reference import BRANCHES

__all__ = ["backward"]

_ops: Any = torch.ops.nas_domains


def backward(
    g: Tensor,
    x: Tensor,
    w: Tensor,
    params: list[Tensor],
    branches: list[int],
    stride: int,
    mean: Tensor,
    var: Tensor,
    training: bool,
    eps: float,
    z: Tensor,
    needs_dx: bool,
    needs_dw: bool,
    needs_params: list[int],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Host function of the op ``nas_domains::mixed_edge_bwd``."""
    edge = Edge(x, w, params, branches, stride)
    g = g.contiguous(memory_format=torch.channels_last)
    step = _Backward(edge, edge.rows(g), edge.z_of(z), mean, var, training, eps)
    dw = step.branches(needs_dw)
    dx = x.new_empty(0)
    grads: dict[int, Tensor] = {}
    if needs_dx or needs_params:
        dx = step.convolutions(g, needs_dx, set(needs_params), grads)
    return (
        dx if needs_dx else x.new_empty(0),
        dw if needs_dw else w.new_empty(0),
        [grads[i].reshape(params[i].shape).contiguous() for i in needs_params],
    )


class _Backward:
    """The backward of one edge, from g [pixels, C] and the maps that the forward kept."""

    def __init__(
        self,
        edge: Edge,
        g: Tensor,
        z: Tensor,
        mean: Tensor,
        var: Tensor,
        training: bool,
        eps: float,
    ) -> None:
        self.edge, self.g, self.z, self.training, self.eps = edge, g, z, training, eps
        self.mean, self.var = mean, var
        self.inverse = (var + eps).rsqrt()
        self.of_norm: dict[int, Tensor] = {}  # [3, C]: dz = c0 g + c1 z + c2

    def coefficients(self, norm: int, factor: Tensor, total: Tensor, product: Tensor) -> Tensor:
        """Those of a batch norm whose output has the gradient ``factor`` times g.

        Args:
            norm: Its row.
            factor: A scalar.
            total: [C] sums of g.
            product: [C] sums of g times the normed input.

        Returns:
            [3, C].
        """
        inverse, n = self.inverse[norm], self.edge.pixels
        c0 = factor * inverse
        if not self.training:
            return torch.stack([c0, torch.zeros_like(c0), torch.zeros_like(c0)])
        c1 = c0 * inverse * product / -n
        return torch.stack([c0, c1, c0 * total / -n - c1 * self.mean[norm]])

    def branches(self, needs_dw: bool) -> Tensor:
        """Returns dw, and finds the coefficients of the batch norms that end a branch."""
        edge = self.edge
        zero = self.g.new_zeros(self.g.shape[1])
        sums = zero.expand(len(edge.adding) + 1, -1)
        if needs_dw or (self.training and edge.normed):
            outputs = edge.outputs(edge.depthwise([], edge.pools)[1], self.z)
            norms = [edge.norm_of[k] for k in edge.adding]
            means = [self.mean[norm] if norm >= 0 else zero for norm in norms]
            images = [edge.image(rows) for rows in (self.g, *outputs)]
            sums = channel_sums(images[0], images[1:], torch.stack([*means, zero])[:-1])
        dw = [self.g.new_zeros(())] * len(edge.names)
        for own, k in zip(sums, edge.adding, strict=False):
            norm = edge.norm_of[k]
            if norm >= 0:
                own = own * self.inverse[norm]
                self.of_norm[norm] = self.coefficients(norm, edge.w[k], sums[-1], own)
            dw[k] = own.sum()
        return torch.stack(dw)

    def convolutions(
        self, g: Tensor, needs_dx: bool, needs: set[int], grads: dict[int, Tensor]
    ) -> Tensor:
        """Returns dx, and puts the gradients of the weights asked for into ``grads``."""
        edge = self.edge
        du = {s.place - 1: self._second(s, needs_dx, needs, grads) for s in edge.second}
        da = self.g.new_empty((len(edge.first), *self.g.shape))
        needed = [needs_dx or {s.param, s.param + 1} & needs for s in edge.first]
        d = self.g
        if any(s.param + 1 in needs for s in edge.first):
            d, _ = edge.depthwise(edge.first, False)
        for i, stage in enumerate(edge.first):
            own = du.get(stage.place, self.g)
            if needed[i] and own is not None:
                self._pointwise(stage, own, d[i : i + 1], da[i : i + 1], needs, grads)
            else:
                da[i].zero_()
        windows = edge.windows(edge.first)
        needs_windows = any(s.param in needs for s in edge.first)
        dx, rows, _ = _ops.depthwise_bank_bwd(
            edge.several(da), edge.x, None, None, *windows, edge.stride,
            g, self._direct(), needs_dx, needs_windows,
        )  # fmt: skip
        self._unpack(edge.first, rows, needs, grads)
        for stage in edge.dense:
            own = self._dense(stage, needs_dx, needs, grads)
            if needs_dx and own is not None:
                dx = dx + own * (edge.x > 0)
        result: Tensor = dx
        return result

    def _pointwise(
        self,
        stage: Stage,
        g: Tensor,
        d: Tensor,
        da: Tensor | None,
        needs: set[int],
        grads: dict[int, Tensor],
    ) -> None:
        """Backward of the batch norm and the pointwise convolution of a stage."""
        wanted = stage.param + 1 in needs
        dw = pointwise.backward(
            g, self.z, d, self.edge.matrices([stage]), self.of_norm[stage.norm][None],
            (stage.place,), da, wanted,
        )  # fmt: skip
        if wanted:
            grads[stage.param + 1] = dw[0].to(g.dtype)

    def _second(
        self, stage: Stage, needs_dx: bool, needs: set[int], grads: dict[int, Tensor]
    ) -> Tensor | None:
        """Returns the gradient of the normed output of the stage before, if it is wanted."""
        edge, before, first = self.edge, stage.norm - 1, stage.param - 2
        wanted = needs_dx or {first, first + 1} & needs
        if not wanted and not {stage.param, stage.param + 1} & needs:
            return None
        norm = affine(self.mean[before], self.var[before], self.eps)
        d = self.g[None]
        if stage.param + 1 in needs:
            d = edge.depthwise_second(stage, self.z, norm)
        da = torch.empty_like(self.g)[None]
        self._pointwise(stage, self.g, d, da, needs, grads)
        du, rows, sums = _ops.depthwise_bank_bwd(
            edge.several(da), edge.image(self.z[stage.place - 1]), *norm, *edge.windows([stage]),
            1, None, None, bool(wanted), stage.param in needs,
        )  # fmt: skip
        self._unpack([stage], rows, needs, grads)
        if not wanted:
            return None
        one = torch.ones_like(self.mean[before, 0])
        self.of_norm[before] = self.coefficients(before, one, sums[0], sums[1])
        return edge.rows(du)

    def _direct(self) -> Tensor:
        """Coefficients [3, 3, C] of what flows back through max pool, mean pool and skip."""
        found = [self.g.new_zeros((3, self.g.shape[1])) for _ in range(3)]
        for k in self.edge.adding:
            name, norm = self.edge.names[k], self.edge.norm_of[k]
            place = {"max_pool": 0, "avg_pool": 1, "avg_pool_plain": 1, "skip": 2}.get(name)
            if place is not None and norm >= 0:
                found[place] = found[place] + self.of_norm[norm]
            elif place is not None:
                found[place][0] += self.edge.w[k]
        return torch.stack(found)

    def _unpack(
        self, stages: list[Stage], rows: Tensor, needs: set[int], grads: dict[int, Tensor]
    ) -> None:
        """Cuts the gradients of depthwise weights [taps of all, C] into those of each stage."""
        at = 0
        for stage in stages:
            taps = self.edge.params[stage.param][0].numel()
            if stage.param in needs:
                grads[stage.param] = rows[at : at + taps].T.to(self.g.dtype)
            at += taps

    def _dense(
        self, stage: Stage, needs_dx: bool, needs: set[int], grads: dict[int, Tensor]
    ) -> Tensor | None:
        """Returns the gradient of relu(x) through a dense stage, if anything of it is wanted."""
        edge = self.edge
        own = range(stage.param, stage.param + BRANCHES[stage.name].params)
        if not needs_dx and needs.isdisjoint(own):
            return None
        c0, c1, c2 = self.of_norm[stage.norm]
        dz = edge.image(torch.addcmul(c2, c1, self.z[stage.place]).addcmul_(c0, self.g))
        weights = [edge.params[i] for i in own]
        if stage.name == "reduce":
            du, *found = reduction_backward(dz, edge.x.relu(), weights)
        else:
            du, *found = conv_backward(dz, edge.x.relu(), weights[0], edge.stride, 1, 1)
        grads.update(zip(own, found, strict=True))
        return du
