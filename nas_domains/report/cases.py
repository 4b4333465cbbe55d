"""The section of a report on what each test case scored: worst first, paired with other networks.

It reads the samples' scores that the record of a test holds, and the pictures beside the winner.
"""

import base64
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from . import words
from .content import WINNER, Content
from .words import datum, known

PICTURES = Path("best") / "pictures"
_MOST = 50
"""Cases that the table shows; the best of more are left out."""


def case_section(content: Content) -> dict[str, Any] | None:
    """Table of the winner's cases, paired comparisons, and pictures; None where there are none.

    Returns:
        {"heads", "rows" (worst first), "hidden", "goal", "pairs", "pictures"}.
    """
    scores = _samples(content, WINNER)
    if scores is None:
        return None
    goal = content.goal.metric if content.goal.metric in scores else _first(scores)
    classes = _classes(content, len(scores[goal][0]))
    metrics = [goal, *(name for name in scores if name not in ("names", goal))]
    means = [_mean(values) for values in scores[goal]]
    sign = -1 if content.goal.metric == goal and content.goal.direction == "min" else 1
    order = sorted(range(len(means)), key=lambda i: (known(means[i]), sign * (means[i] or 0)))
    rows = [
        {
            "name": scores["names"][i],
            "cells": [datum(m, value) for m in metrics for value in scores[m][i]],
        }
        for i in order[:_MOST]
    ]
    return {
        "heads": [head for m in metrics for head in _heads(m, len(scores[m][0]), classes)],
        "rows": rows,
        "hidden": max(0, len(order) - _MOST),
        "goal": words.name_of(goal),
        "pairs": _pairs(content, goal, scores),
        "pictures": _pictures(content.path / PICTURES),
    }


def _samples(content: Content, row: str) -> Mapping[str, Any] | None:
    """Scores of each case, the mean over seeds: {"names", metric -> [N][K]}."""
    own = next((r for r in content.rows if r.name == row), None)
    found = [t.detail["samples"] for t in own.tests if "samples" in t.detail] if own else []
    if not found:
        return None
    mean: dict[str, Any] = {"names": found[0]["names"]}
    for metric in (name for name in found[0] if name != "names"):
        mean[metric] = [
            [_mean(values) for values in zip(*map(_columns, case), strict=True)]
            for case in zip(*(scores[metric] for scores in found), strict=True)
        ]
    return mean


def _columns(scored: Any) -> list[Any]:
    """What a case scored, of each class; a metric may give a single number."""
    return list(scored) if isinstance(scored, Sequence) else [scored]


def _first(scores: Mapping[str, Any]) -> str:
    return next(name for name in scores if name != "names")


def _classes(content: Content, number: int) -> Sequence[str]:
    """Names of the classes that are scored: those of the task, or numbers."""
    given = content.config.get("classes") or []
    if len(given) == number + 1:
        return [str(name) for name in given[1:]]
    return [str(i) for i in range(1, 1 + number)]


def _heads(metric: str, columns: int, classes: Sequence[str]) -> list[str]:
    name = words.header(metric)
    if columns == 1:
        return [name]
    known = classes if columns == len(classes) else [str(i) for i in range(1, 1 + columns)]
    return [f"{name}, {of}" for of in known]


def _mean(values: Sequence[Any]) -> float | None:
    there = [value for value in values if known(value)]
    return statistics.fmean(there) if there else None


def _pairs(content: Content, goal: str, winner: Mapping[str, Any]) -> list[str]:
    """For every other network the mean difference over the same cases, with its interval."""
    sentences = []
    for row in content.rows:
        other = _samples(content, row.name) if row.name != WINNER else None
        if other is None or other["names"] != winner["names"]:
            continue
        both = [(_mean(a), _mean(b)) for a, b in zip(winner[goal], other[goal], strict=True)]
        gains = [a - b for a, b in both if a is not None and b is not None]
        if len(gains) < 2:
            continue
        middle = statistics.fmean(gains)
        error = statistics.stdev(gains) / math.sqrt(len(gains))
        reach = float(stats.t.ppf(0.975, len(gains) - 1)) * error
        sentences.append(
            f"Winner minus {row.label}: {middle:+.4f} in {words.name_of(goal)}, 95 % interval "
            f"{middle - reach:+.4f} to {middle + reach:+.4f}, paired over {len(gains)} cases."
        )
    return sentences


def _pictures(folder: Path) -> list[dict[str, str]]:
    """The pictures as data that a page holds within itself."""
    return [
        {
            "name": path.stem.partition("-")[2],
            "data": "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode(),
        }
        for path in sorted(folder.glob("*.png"))
    ]
