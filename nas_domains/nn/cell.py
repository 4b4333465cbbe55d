"""Cells: small graphs of edges, and the networks that stack them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .candidates import AVG_POOL, CONV, NORM, FactorizedReduce, relu_conv_norm

Edge = tuple[int, int]
"""(from, to) among the states of a cell: its inputs come first, then its nodes."""

EdgeMaker = Callable[[str, Edge, int, int], nn.Module]
"""(kind of cell, edge, channels, stride) -> module."""

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Channels-last for images and volumes: converted once, at the border of a network."""

EdgeWeights = Mapping[str, Mapping[Edge, Any]]
"""Kind of cell -> edge -> what a mixed operation takes as weights; an absent edge is left out."""


def lay_out(network: nn.Module) -> None:
    """Brings the weights of images' and volumes' convolutions into channels-last."""
    for parameter in network.parameters():
        if parameter.dim() in LAYOUTS:
            parameter.data = parameter.data.contiguous(memory_format=LAYOUTS[parameter.dim()])


@dataclass(frozen=True)
class Design:
    """What all cells of a space have in common.

    Attributes:
        inputs: Number of inputs: 2 reads the last two cells, 1 the last one.
        nodes: Number of nodes.
        concat: Whether the output joins all nodes, or is the last node.
        dims: Spatial dimensions, 1 to 3.
    """

    inputs: int
    nodes: int
    concat: bool
    dims: int = 2

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges a cell may have, by target, then source."""
        return tuple(
            (source, self.inputs + node)
            for node in range(self.nodes)
            for source in range(self.inputs + node)
        )


class Cell(nn.Module):
    """A graph whose nodes sum their edges.

    Args:
        design: The graph's shape.
        kind: Which weights it reads, e.g. "normal" or "reduce".
        edges: The edges it has, with one module each.
        pre: One module for each input, bringing it to the cell's size.
    """

    def __init__(
        self,
        design: Design,
        kind: str,
        edges: Mapping[Edge, nn.Module],
        pre: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.design, self.kind = design, kind
        self.pre = nn.ModuleList(pre)
        self.edges = nn.ModuleDict({f"{i}-{j}": module for (i, j), module in edges.items()})
        self.order = sorted(edges, key=lambda edge: (edge[1], edge[0]))
        self.drop_path = 0.0

    def forward(self, last: Tensor, now: Tensor, weights: EdgeWeights | None = None) -> Tensor:
        """Computes the cell.

        Args:
            last: Output of the cell before the last, [B, C, ...].
            now: Output of the last cell, [B, C, ...].
            weights: Of a supernet's mixed operations; None in a plain network.

        Returns:
            [B, nodes x channels, ...]; where the design takes the last node, [B, channels, ...].
        """
        states: list[Tensor] = [
            pre(x) for pre, x in zip(self.pre, (last, now)[2 - self.design.inputs :], strict=True)
        ]
        own = None if weights is None else weights[self.kind]
        for node in range(self.design.inputs, self.design.inputs + self.design.nodes):
            terms = [
                self._edge(i, j, states[i], own)
                for i, j in self.order
                if j == node and (own is None or (i, j) in own)
            ]
            states.append(sum(terms[1:], terms[0]) if terms else torch.zeros_like(states[-1]))
        if self.design.concat:
            return torch.cat(states[self.design.inputs :], 1)
        return states[-1]

    def _edge(self, i: int, j: int, x: Tensor, weights: Mapping[Edge, Any] | None) -> Tensor:
        module = self.edges[f"{i}-{j}"]
        if weights is not None:
            mixed: Tensor = module(x, weights[i, j])
            return mixed
        out: Tensor = module(x)
        if self.training and self.drop_path > 0 and not isinstance(module, nn.Identity):
            keep = 1 - self.drop_path
            shape = (len(x),) + (1,) * (x.dim() - 1)
            out = out * (torch.rand(shape, device=x.device) < keep).to(out.dtype) / keep
        return out


class ResidualReduction(nn.Module):
    """The fixed residual block that halves the sides between NAS-Bench-201's stages."""

    def __init__(self, c_in: int, c_out: int, dims: int) -> None:
        super().__init__()
        self.first = relu_conv_norm(c_in, c_out, 3, True, dims, stride=2)
        self.second = relu_conv_norm(c_out, c_out, 3, True, dims)
        self.shortcut = nn.Sequential(
            # Rounding up as the strided convolution does, for odd sides.
            AVG_POOL[dims](2, 2, ceil_mode=True),
            CONV[dims](c_in, c_out, 1, bias=False),
        )

    def forward(self, last: Tensor, now: Tensor, weights: EdgeWeights | None = None) -> Tensor:
        """[B, c_in, ...] -> [B, c_out, ceil(... / 2)], of the last output alone."""
        out: Tensor = self.shortcut(now) + self.second(self.first(now))
        return out


class CellNetwork(nn.Module):
    """Stem, cells, global pooling and classifier; plain or, with weights, a supernet's body.

    Args:
        stem: From the input to the first cells' input.
        cells: Called with the last two outputs and the weights.
        head: From the last output to [B, C].
        features: C.
        outputs: Size of the output.
    """

    def __init__(
        self,
        stem: nn.Module,
        cells: Sequence[nn.Module],
        head: nn.Module,
        features: int,
        outputs: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.cells = nn.ModuleList(cells)
        self.head = head
        self.classifier = nn.Linear(features, outputs)
        lay_out(self)

    def forward(self, x: Tensor, weights: EdgeWeights | None = None) -> Tensor:
        """[B, C, ...] -> [B, outputs]."""
        if x.dim() in LAYOUTS:
            x = x.contiguous(memory_format=LAYOUTS[x.dim()])
        last = now = self.stem(x)
        for cell in self.cells:
            last, now = now, cell(last, now, weights)
        scores: Tensor = self.classifier(self.head(now).flatten(2).mean(2))
        return scores

    def set_drop_path(self, rate: float) -> None:
        """Sets the probability with which an edge is dropped in training."""
        for cell in self.cells:
            if isinstance(cell, Cell):
                cell.drop_path = rate


def darts_network(
    design: Design,
    make_edge: EdgeMaker,
    edges: Mapping[str, Sequence[Edge]],
    *,
    c_in: int,
    channels: int,
    cells: int,
    outputs: int,
    affine: bool,
) -> CellNetwork:
    """The network of Liu et al. 2019: reduction cells at one and two thirds of the depth.

    Args:
        design: The cells' shape, with two inputs.
        make_edge: Makes the module of an edge.
        edges: The edges of each kind, "normal" and "reduce".
        c_in: Channels of the input.
        channels: Channels of the first cell's nodes; doubled at each reduction.
        cells: Number of cells.
        outputs: Size of the output.
        affine: Whether batch norms outside the edges are affine.
    """
    dims = design.dims
    c_stem = 3 * channels
    stem = nn.Sequential(CONV[dims](c_in, c_stem, 3, padding=1, bias=False), NORM[dims](c_stem))
    c_last, c_now, c = c_stem, c_stem, channels
    reductions = {cells // 3, 2 * cells // 3} if cells > 1 else set()
    stack: list[nn.Module] = []
    reduced_before = False
    for position in range(cells):
        reduces = position in reductions and position > 0
        c *= 2 if reduces else 1
        kind = "reduce" if reduces else "normal"
        pre = [
            FactorizedReduce(c_last, c, affine, dims)
            if reduced_before
            else relu_conv_norm(c_last, c, 1, affine, dims),
            relu_conv_norm(c_now, c, 1, affine, dims),
        ]
        modules = {
            edge: make_edge(kind, edge, c, 2 if reduces and edge[0] < design.inputs else 1)
            for edge in edges[kind]
        }
        stack.append(Cell(design, kind, modules, pre))
        reduced_before = reduces
        c_last, c_now = c_now, design.nodes * c
    return CellNetwork(stem, stack, nn.Identity(), c_now, outputs)


def staged_network(
    design: Design,
    make_edge: EdgeMaker,
    edges: Mapping[str, Sequence[Edge]],
    *,
    c_in: int,
    channels: int,
    cells: int,
    outputs: int,
) -> CellNetwork:
    """The network of Dong & Yang 2020: three stages of equal cells, residual reductions between.

    Args:
        design: The cells' shape, with one input.
        make_edge: Makes the module of an edge.
        edges: The edges of the kind "cell".
        c_in: Channels of the input.
        channels: Channels of the first stage; doubled at each reduction.
        cells: Cells a stage.
        outputs: Size of the output.
    """
    dims = design.dims
    stem = nn.Sequential(
        CONV[dims](c_in, channels, 3, padding=1, bias=False), NORM[dims](channels)
    )
    stack: list[nn.Module] = []
    c = channels
    for stage in range(3):
        if stage:
            stack.append(ResidualReduction(c, 2 * c, dims))
            c *= 2
        for _ in range(cells):
            modules = {edge: make_edge("cell", edge, c, 1) for edge in edges["cell"]}
            stack.append(Cell(design, "cell", modules, [nn.Identity()]))
    head = nn.Sequential(NORM[dims](c), nn.ReLU())
    return CellNetwork(stem, stack, head, c, outputs)
