"""Several objectives: the hypervolume that a search came to over time, and the knee point."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.history import Record
from ..core.objective import Objective, pareto
from .context import Context

Points = npt.NDArray[np.float64]

MOST = 50
"""Steps at which the hypervolume is said, evenly spread."""


def hypervolume(points: Points, reference: Points) -> float:
    """The volume that points dominate above a reference point, larger being better.

    By slices along the last objective (Zitzler 2001); meant for fronts of some ten points and up
    to about five objectives.

    Args:
        points: [N, objectives].
        reference: [objectives].
    """
    kept = points[(points > reference).all(1)]
    if not len(kept):
        return 0.0
    if kept.shape[1] == 1:
        return float(kept.max() - reference[0])
    kept = kept[pareto([tuple(p) for p in kept.tolist()])]
    order = np.argsort(-kept[:, -1], kind="stable")
    total = 0.0
    for i, top in enumerate(order):
        below = reference[-1] if i + 1 == len(order) else kept[order[i + 1], -1]
        height = float(kept[top, -1] - below)
        if height > 0:
            total += height * hypervolume(kept[order[: i + 1], :-1], reference[:-1])
    return total


def knee(points: Points) -> int | None:
    """The point of a front that gives up least of all objectives together.

    Each objective is scaled to 0 (worst of the front) and 1 (best); the knee is farthest above
    the plane through the ends of the front (Das 1999), which is where the scaled objectives have
    the largest sum.

    Args:
        points: A front [N, objectives], larger being better.

    Returns:
        Its number; None of fewer than three points, which have ends alone.
    """
    if len(points) < 3:
        return None
    low, high = points.min(0), points.max(0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    return int(scaled.sum(1).argmax())


def front_progress(
    context: Context, records: Sequence[Record], front: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """How the front of several goals grew.

    Args:
        context: Of the run.
        records: Of the search, by step.
        front: What :func:`nas_domains.evaluation.select.front` found of them.

    Returns:
        {"objectives", "reference", "ideal", "hypervolume", "knee"}: the goals; the worst and the
        best value of each among what keeps the limits; [step, seconds, share] at up to ``MOST``
        steps and the last, the share of the box between the two that is dominated; and the number
        of the knee in the front, or None. None with one goal, or where fewer than two records
        have all goals and keep the limits.
    """
    goals = context.goals
    scores = [_scores(goals, r) if context.allows(r.metrics) else None for r in records]
    known = np.array([s for s in scores if s is not None])
    if len(goals) < 2 or len(known) < 2:
        return None
    low, high = known.min(0), known.max(0)
    wide = np.where(high > low, high - low, 1.0)
    every = max(1, len(records) // MOST)
    so_far: list[Points] = []
    line, spent = [], 0.0
    for i, (record, score) in enumerate(zip(records, scores, strict=True), 1):
        spent += record.seconds
        if score is not None:
            so_far.append((score - low) / wide)
        if so_far and (i % every == 0 or i == len(records)):
            share = hypervolume(np.stack(so_far), np.zeros(len(goals)))
            line.append([record.step, spent, share])
    members = [_scores(goals, Record("", 0, None, {}, m["metrics"], 0.0)) for m in front]
    sign = np.array([1.0 if g.direction == "max" else -1.0 for g in goals])
    return {
        "objectives": [g.metric for g in goals],
        "reference": (sign * low).tolist(),
        "ideal": (sign * high).tolist(),
        "hypervolume": line,
        "knee": knee(np.stack([m for m in members if m is not None]))
        if members and all(m is not None for m in members)
        else None,
    }


def _scores(goals: Sequence[Objective], record: Record) -> Points | None:
    scores = np.array([goal.score(record.metrics) for goal in goals])
    return scores if np.isfinite(scores).all() else None
