"""Selection: from the weights of a supernet to one architecture."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...core.architecture import Architecture
from ...core.limit import Limit
from ...nn.supernet import Supernet
from .costs import CostRows, MixingSpace

__all__ = ["decode_within", "keep_most_needed"]


def decode_within(
    space: MixingSpace, strengths: Mapping[str, Tensor], limit: Limit, rows: Mapping[str, CostRows]
) -> Architecture:
    """The architecture that strengths speak for among those that keep a limit.

    The logarithms of the strengths are lowered by a price on costs, the lowest price (by
    bisection) at which the space's own rule decodes what keeps the limit; then single choices are
    changed back as long as one speaks for itself and fits.

    Args:
        space: The space.
        strengths: Kind -> weights [E, K].
        limit: What the architecture keeps; the space's :meth:`limit` of all costs in ``rows``.
        rows: Metric -> what candidates cost.

    Raises:
        UsageError: No architecture keeps the limit.
    """
    logs = {kind: weights.clamp_min(1e-12).log() for kind, weights in strengths.items()}

    def priced(price: float) -> Architecture:
        lowered = {}
        for kind, log in logs.items():
            costs = sum(
                (r.rows[kind] / max(limit.bands[metric][1], 1e-12) for metric, r in rows.items()),
                torch.zeros(()),
            )
            lowered[kind] = torch.exp((log - price * costs).clamp_min(-80.0))
        return space.decode(lowered)

    found = space.decode(strengths)
    if limit.allows(found):
        return found
    low, high = 0.0, 1e-3
    while not limit.allows(priced(high)):
        low, high = high, 4 * high
        if high > 1e9:
            # A rule that looks at more than costs may never get there.
            return _climbed(space, limit.sample(1, np.random.default_rng(0))[0], logs, limit)
    for _ in range(30):
        middle = math.sqrt(low * high) if low > 0 else high / 4
        if limit.allows(priced(middle)):
            high = middle
        else:
            low = middle
    return _climbed(space, priced(high), logs, limit)


def _climbed(
    space: MixingSpace, architecture: Architecture, logs: Mapping[str, Tensor], limit: Limit
) -> Architecture:
    """Changes single choices for the better as long as one can be."""

    def score(candidate: Architecture) -> float:
        return space.evidence(candidate, logs)

    best = score(architecture)
    while True:
        better = [
            (value, neighbour)
            for neighbour in space.neighbours(architecture)
            if (value := score(neighbour)) > best + 1e-9 and limit.allows(neighbour)
        ]
        if not better:
            return architecture
        best, architecture = max(better, key=lambda pair: pair[0])


def keep_most_needed(
    supernet: Supernet,
    kind: str,
    edge: int,
    score: Callable[[], Sequence[float]],
) -> int:
    """Keeps the candidate of an edge that the supernet misses most (DARTS-PT).

    Each candidate left on the edge is dropped in turn and the supernet scored; that whose loss
    hurts most stays, alone (Wang et al. 2021, arXiv 2108.04392, algorithm 1).

    Args:
        supernet: The supernet; its dropped candidates change.
        kind: Kind of cell.
        edge: Number of the edge.
        score: The supernet's score on validation data; more is better, compared in order.

    Returns:
        The index of the candidate.
    """
    before = supernet.dropped[kind].clone()
    left = [k for k in range(before.shape[1]) if not before[edge, k]]
    scores = []
    for k in left if len(left) > 1 else []:
        without = before.clone()
        without[edge, k] = True
        supernet.dropped.set(kind, without)
        scores.append(tuple(score()))
    kept = left[scores.index(min(scores))] if scores else left[0]
    alone = before.clone()
    alone[edge] = True
    alone[edge, kept] = False
    supernet.dropped.set(kind, alone)
    return kept
