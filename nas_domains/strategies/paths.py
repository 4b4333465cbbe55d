"""Which paths the steps of a one-shot training run; each depends on a seed and its number."""

import numpy as np
import torch
from torch import Tensor

from ..core.architecture import Architecture
from ..core.limit import Limit
from ..core.registry import actions
from ..core.seeds import derive
from ..core.space import SearchSpace
from ..ops.sample_paths import sample_paths


def uniform_paths(
    space: SearchSpace, n: int, *, seed: int, first: int, limit: Limit | None = None
) -> list[Architecture]:
    """Draws paths ``first`` to ``first + n - 1``, uniform over the space or what keeps the limit.

    Args:
        space: The space.
        n: How many.
        seed: Of all paths.
        first: Number of the first path.
        limit: What all must keep.

    Raises:
        UsageError: No architecture keeps the limit.
    """
    # Choices that depend on others are not uniform each where architectures are.
    if limit is None and all(choice.parent is None for choice in space.choices):
        return _architectures(space, sample_paths(_open(space), n, seed=seed, offset=first))
    return [
        space.sample(1, np.random.default_rng(derive(seed, "path", number)), limit)[0]
        for number in range(first, first + n)
    ]


def fair_paths(space: SearchSpace, *, seed: int, step: int) -> list[Architecture]:
    """Draws the K paths of a step in which each option of a choice stands once (Chu et al. 2021).

    K is the largest number of options that a choice has; a choice with fewer goes through all of
    its own, in a new random order each time, without regard to where a step ends, and so gives
    each the same number of paths in the long run. A choice that another switches off is left out.

    Args:
        space: The space.
        seed: Of all paths.
        step: Number of the step.
    """
    each = max(len(choice.options) for choice in space.choices)
    rows = sample_paths(_open(space), each, "fair", seed=seed, offset=step * each)
    return _architectures(space, rows)


def extremes(
    space: SearchSpace,
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    seed: int,
    limit: Limit | None = None,
) -> tuple[Architecture, Architecture]:
    """The largest and the smallest architecture.

    Those of the space's own ``largest()`` and ``smallest()``, where it has these methods and they
    keep the limit. Otherwise those with the most and the fewest parameters of a fixed draw: of
    1,000 where the space has an exact table of parameters, else of 30, which must be built.

    Args:
        space: The space.
        input_shape: Shape of one input, without the batch.
        outputs: Size of the network's output.
        seed: Of the draw.
        limit: What both must keep.

    Raises:
        UsageError: No architecture keeps the limit.
    """
    hooks = [getattr(space, name, None) for name in ("largest", "smallest")]
    if all(hooks):
        own: list[Architecture] = [hook() for hook in hooks if hook is not None]
        if limit is None or all(map(limit.allows, own)):
            return own[0], own[1]
    table = space.cost_tables(input_shape, outputs).get("params")
    exact = table is not None and table.exact
    drawn = list(dict.fromkeys(space.sample(1000 if exact else 30, seed, limit)))
    count = actions.load("costs")

    def params(architecture: Architecture) -> float:
        if table is not None and exact:
            return table.cost(architecture)
        network = space.build(architecture, input_shape, outputs)
        return float(count(network, input_shape)["params"])

    sizes = [params(architecture) for architecture in drawn]
    return drawn[int(np.argmax(sizes))], drawn[int(np.argmin(sizes))]


def _open(space: SearchSpace) -> Tensor:
    """Logits [E, K] that leave every option of every choice open, and pad the rest."""
    width = max(len(choice.options) for choice in space.choices)
    logits = torch.zeros(len(space.choices), width)
    for row, choice in zip(logits, space.choices, strict=True):
        row[len(choice.options) :] = -torch.inf
    return logits


def _architectures(space: SearchSpace, rows: Tensor) -> list[Architecture]:
    return [
        space.complete(
            {c.name: c.options[i] for c, i in zip(space.choices, row, strict=True)}, None
        )
        for row in rows.tolist()
    ]
