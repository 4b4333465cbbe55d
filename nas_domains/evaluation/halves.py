"""What shared weights learn on, and what selects among their paths looks at."""

from typing import Any

import torch

from ..core.pretrained import PretrainedSpace
from ..core.seeds import generator
from ..core.task import Split
from ..data.splits import halve
from .context import Context


def search_halves(context: Context) -> tuple[list[int], list[int]]:
    """The training split in two halves, the same for every strategy of a run."""
    split = context.task.train
    labels, groups = _labels(split), getattr(split, "groups", None)
    if labels is None and groups is not None:
        labels = [0] * len(split)
    if labels is not None:
        first, second = halve(labels, context.seed, groups)
        return [int(i) for i in first], [int(i) for i in second]
    order = torch.randperm(len(split), generator=generator(context.seed, "halves")).tolist()
    middle = (len(order) + 1) // 2
    return order[:middle], order[middle:] or order


def path_data(context: Context) -> tuple[list[int] | None, Split, list[int] | None]:
    """What a supernet that runs single paths learns on, and what its paths are scored on.

    The halves of the training split; of a pretrained space, whose weights have seen all of that,
    the training and the validation split.

    Returns:
        The part of the training split that weights learn on (all where None), and a split with the
        part of it that scores paths.
    """
    if isinstance(context.space, PretrainedSpace):
        return None, context.task.val, None
    first, second = search_halves(context)
    return first, context.task.train, second


def _labels(split: Split) -> Any:
    """The label of each sample, or None where there are none to stratify by."""
    labels = getattr(split, "labels", None)
    if labels is not None and len(labels) == len(split):
        return labels
    try:
        return [int(split[i][1]) for i in range(len(split))]
    except (TypeError, ValueError, RuntimeError):
        return None
