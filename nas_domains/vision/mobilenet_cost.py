"""Cost tables of the space ``mobilenet``: what each option adds, measured and not derived."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..core.architecture import Option
from ..core.limit import CostTable
from ..hardware.cost import count_params, counted, macs_of
from ..nn.elastic.base import plain
from ..nn.elastic.conv import ElasticConv
from ..nn.mobile import BlockSize, elastic_block, plain_network

if TYPE_CHECKING:
    from .mobilenet import MobileNet

METRICS = ("params", "macs")

Costs = dict[str, float]
"""Parameters and multiply-accumulates."""
Column = dict[Option, float]


def tables(
    space: "MobileNet", input_shape: tuple[int, ...], outputs: int
) -> dict[str, CostTable]:
    """Parameters and multiply-accumulates of a space's networks, option by option.

    The smallest network is counted as a whole, and each part of a block for each size that it may
    have. What a kernel or squeeze and excitation adds depends on the block's expansion.

    The tables are exact where a stage has one width. With several a block costs a product of
    widths and expansion, which is no sum: then a width adds what it does beside the smallest of
    all else. As each size costs the more the larger the others are, the sum is a lower bound.

    Args:
        space: The space.
        input_shape: Shape of one input, (C, H, W).
        outputs: Size of the network's output.
    """
    smallest = dict(space.complete({}, None))

    def network(choices: Mapping[str, Option]) -> Costs:
        made = plain_network(space.frame, space.stages(choices), input_shape[0], outputs)
        return dict(counted(made, input_shape))

    # Networks are made to be counted: what is drawn later must not depend on it.
    with torch.random.fork_rng(devices=[]):
        base = network(smallest)
        added = {
            choice.name: {
                o: _less(network(smallest | {choice.name: o}), base) for o in choice.options
            }
            for choice in space.choices
            if choice.name.endswith(".width")
        }
        blocks = _blocks(space, smallest, input_shape)
    exact = all(len(widths) == 1 for widths in added.values())
    given: dict[str, tuple[str, dict[Option, dict[Option, Costs]]]] = {}
    for at, sizes in blocks.items():
        expansion = f"{at}.expansion"
        added[expansion] = {e: parts.least for e, parts in sizes.items()}
        kernels = {e: parts.kernels for e, parts in sizes.items()}
        squeezes: dict[Option, dict[Option, Costs]] = {
            e: {"no": dict.fromkeys(METRICS, 0.0), "yes": parts.squeeze}
            for e, parts in sizes.items()
        }
        given |= {f"{at}.kernel": (expansion, kernels), f"{at}.squeeze": (expansion, squeezes)}
        if expansion in smallest:
            base = _less(base, added[expansion][smallest[expansion]])
    return {
        m: CostTable(
            base[m],
            {name: _of(m, column) for name, column in added.items()},
            {
                name: (other, {o: _of(m, column) for o, column in columns.items()})
                for name, (other, columns) in given.items()
            },
            exact,
        )
        for m in METRICS
    }


@dataclass(frozen=True)
class _Parts:
    """Costs of a block of one expansion.

    Attributes:
        least: With the smallest kernel, without squeeze and excitation.
        kernels: What each kernel adds to that.
        squeeze: What squeeze and excitation adds.
    """

    least: Costs
    kernels: dict[Option, Costs]
    squeeze: Costs


def _blocks(
    space: "MobileNet", smallest: Mapping[str, Option], input_shape: tuple[int, ...]
) -> dict[str, dict[Option, _Parts]]:
    """Block -> expansion -> its costs, beside the smallest widths."""
    frame = space.frame
    kernels = tuple(map(int, space.config["kernels"]))

    @cache
    def parts(size: BlockSize, stage: int, first: bool, sides: tuple[int, ...]) -> _Parts:
        block = elastic_block(size, frame, stage, first=first)
        after = _strided(sides, frame.strides[stage]) if first else sides
        least = _costs(block.expand, size.c_in, sides)
        for name, cost in _costs(block.project, size.inner, after).items():
            least[name] += cost
        convolution = block.depthwise[0]
        assert isinstance(convolution, ElasticConv)
        found = {}
        for kernel in kernels:
            convolution.activate(c_in=size.inner, c_out=size.inner, kernel=kernel)
            found[kernel] = _costs(block.depthwise, size.inner, sides)
        first_kernel = found[kernels[0]]
        return _Parts(
            {m: least[m] + first_kernel[m] for m in METRICS},
            {kernel: _less(costs, first_kernel) for kernel, costs in found.items()},
            _costs(block.squeeze, size.inner, after),
        )

    found: dict[str, dict[Option, _Parts]] = {}
    c_in, sides = frame.stem, _strided(input_shape[1:], frame.stem_stride)
    for s, stride in enumerate(frame.strides):
        width = int(smallest[f"stage{s + 1}.width"])
        for b in range(space.config["depths"][-1]):
            found[f"stage{s + 1}.block{b + 1}"] = {
                e: parts(
                    BlockSize(c_in, width, e * c_in, kernels[-1], True), s, b == 0, sides
                )
                for e in space.config["expansions"]
            }
            if b == 0:
                sides = _strided(sides, stride)
            c_in = width
    return found


def _costs(part: nn.Module, channels: int, sides: tuple[int, ...]) -> Costs:
    """Costs of an elastic part at its active sizes."""
    made = plain(part)
    return {
        "params": count_params(made),
        "macs": macs_of(made, torch.zeros((1, channels, *sides))),
    }


def _less(costs: Costs, others: Costs) -> Costs:
    return {m: costs[m] - others[m] for m in METRICS}


def _of(metric: str, column: Mapping[Option, Costs]) -> Column:
    return {option: costs[metric] for option, costs in column.items()}


def _strided(sides: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Sides of the output of a convolution that is padded by half its kernel."""
    return tuple(-(-side // stride) for side in sides)
