"""Exact cost tables of spaces of head operators: what each option adds, measured."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..core.architecture import Option
from ..core.limit import CostTable
from ..core.space import Choice
from ..nn.heads import compact
from .cost import count_params, macs_of

METRICS = ("params", "macs")


def heads_tables(
    choices: Sequence[Choice],
    base: Mapping[str, float],
    heads: Mapping[str, nn.Module],
    feeds: Mapping[str, nn.Module],
    states: Tensor,
    shared: int,
) -> dict[str, CostTable]:
    """The tables of params and macs.

    Args:
        choices: Of the space: ``layer1.head1``, ``layer1.feed`` and so on.
        base: What is there whatever is chosen, with ``shared`` for each layer.
        heads: Operator -> a block that has one head of it and others that are none; changed.
        feeds: Width -> what it brings.
        states: [1, T, D], what both are given.
        shared: Parameters of a block of heads that are there whatever its heads are.
    """
    added: dict[str, dict[Option, dict[str, float]]] = {"head": {}, "feed": {}}
    for name, block in heads.items():
        block = compact(block)
        params = count_params(block) - shared
        added["head"][name] = {"params": params, "macs": macs_of(block, states)}
    for name, block in feeds.items():
        added["feed"][name] = {"params": count_params(block), "macs": macs_of(block, states)}
    none = dict.fromkeys(METRICS, 0.0)
    return {
        metric: CostTable(
            base[metric],
            {
                c.name: {
                    o: added["feed" if c.name.endswith(".feed") else "head"].get(o, none)[metric]
                    for o in c.options
                }
                for c in choices
            },
        )
        for metric in METRICS
    }
