"""The halves of the training split: weights learn on one, what selects looks at the other."""

from typing import Any

import torch

from ..core.seeds import generator
from ..core.task import Split
from ..data.splits import halve
from .context import Context


def search_halves(context: Context) -> tuple[list[int], list[int]]:
    """The training split in two halves, the same for every strategy of a run."""
    split = context.task.train
    labels = _labels(split)
    if labels is not None:
        first, second = halve(labels, context.seed, getattr(split, "groups", None))
        return [int(i) for i in first], [int(i) for i in second]
    order = torch.randperm(len(split), generator=generator(context.seed, "halves")).tolist()
    middle = (len(order) + 1) // 2
    return order[:middle], order[middle:] or order


def _labels(split: Split) -> Any:
    """The label of each sample, or None where there are none to stratify by."""
    labels = getattr(split, "labels", None)
    if labels is not None and len(labels) == len(split):
        return labels
    try:
        return [int(split[i][1]) for i in range(len(split))]
    except (TypeError, ValueError, RuntimeError):
        return None
