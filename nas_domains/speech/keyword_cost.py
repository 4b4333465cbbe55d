"""Cost tables of the space ``keyword``: what each option adds, measured and not derived."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import torch

from ..core.architecture import Option
from ..core.limit import CostTable
from ..hardware.cost import count_params, counted, macs_of
from ..nn.broadcast import BlockSize, elastic_block, plain_network
from ..nn.elastic.base import plain

if TYPE_CHECKING:
    from .keyword import Keyword

METRICS = ("params", "macs")

Costs = dict[str, float]
"""Parameters and multiply-accumulates."""


def tables(space: "Keyword", input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
    """Parameters and multiply-accumulates of a space's networks, option by option, exactly.

    The smallest network is counted as a whole, and a block of each stage for each option beside
    the smallest of the others. What a kernel and an expansion add depends on whether the part
    along time sees the mean over bands.

    Args:
        space: The space.
        input_shape: Shape of one input, (C, bands, frames).
        outputs: Size of the network's output.
    """
    smallest = dict(space.smallest())
    # Networks are made to be counted: what is drawn later must not depend on it.
    with torch.random.fork_rng(devices=[]):
        network = plain_network(space.frame, space.stages(smallest), input_shape[0], outputs)
        base: Costs = dict(counted(network, input_shape))
        stages = _stages(space, input_shape)
    options: dict[str, dict[Option, Costs]] = {}
    given: dict[str, tuple[str, dict[Option, dict[Option, Costs]]]] = {}
    for s, (blocks, added) in enumerate(stages, 1):
        for b in range(1, 1 + space.config["depths"][-1]):
            at = f"stage{s}.block{b}"
            options[f"{at}.broadcast"] = blocks
            options[f"{at}.squeeze"] = added["squeeze"]["yes"]
            for name in ("kernel", "expansion"):
                given[f"{at}.{name}"] = (f"{at}.broadcast", added[name])
            if f"{at}.broadcast" in smallest:
                base = _less(base, blocks["yes"])
    return {
        m: CostTable(
            base[m],
            {name: _of(m, column) for name, column in options.items()},
            {
                name: (other, {o: _of(m, column) for o, column in columns.items()})
                for name, (other, columns) in given.items()
            },
        )
        for m in METRICS
    }


Added = dict[str, dict[Option, dict[Option, Costs]]]
"""Choice -> broadcast -> option -> what it adds to the smallest block."""


def _stages(
    space: "Keyword", input_shape: tuple[int, ...]
) -> list[tuple[dict[Option, Costs], Added]]:
    """For each stage what its smallest block costs, broadcast or not, and what options add."""
    config, found = space.config, []
    offered: dict[str, tuple[Option, ...]] = {
        "kernel": tuple(config["kernels"]),
        "expansion": tuple(config["expansions"]),
        "squeeze": ("no", "yes"),
    }
    bands, frames = (_strided(side, space.frame.stem_stride) for side in input_shape[1:])
    for channels, stride in zip(space.frame.channels, space.frame.strides, strict=True):
        bands = _strided(bands, stride)

        @cache
        def cost(size: BlockSize, shape: tuple[int, ...] = (1, channels, bands, frames)) -> Costs:
            made = plain(elastic_block(size, shape[1]))
            return {"params": count_params(made), "macs": macs_of(made, torch.zeros(shape))}

        first: dict[str, Option] = {name: column[0] for name, column in offered.items()}
        blocks: dict[Option, Costs] = {}
        added: Added = {name: {} for name in offered}
        for broadcast in ("yes", "no"):
            one: dict[str, Option] = {**first, "broadcast": broadcast}
            blocks[broadcast] = cost(_size(space, one, channels))
            for name, column in offered.items():
                added[name][broadcast] = {
                    o: _less(cost(_size(space, one | {name: o}, channels)), blocks[broadcast])
                    for o in column
                }
        found.append((blocks, added))
    return found


def _size(space: "Keyword", choices: Mapping[str, Option], channels: int) -> BlockSize:
    return space.block({f"block.{name}": o for name, o in choices.items()}, "block", channels)


def _less(costs: Costs, others: Costs) -> Costs:
    return {m: costs[m] - others[m] for m in METRICS}


def _of(metric: str, column: Mapping[Option, Costs]) -> dict[Option, float]:
    return {option: costs[metric] for option, costs in column.items()}


def _strided(side: int, stride: int) -> int:
    """Side of the output of a convolution that is padded by half its kernel."""
    return -(-side // stride)
