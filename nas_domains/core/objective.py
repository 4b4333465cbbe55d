"""Objectives: what a search makes large or small, and the limits it must keep."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import UsageError

DIRECTIONS = {
    "accuracy": "max",
    "auc": "max",
    "f1": "max",
    "dice": "max",
    "hd95_mm": "min",
    "loss": "min",
    "latency_ms": "min",
    "energy_mj": "min",
    "ort_latency_ms": "min",
    "peak_memory_mb": "min",
    "params": "min",
    "macs": "min",
}
COST_METRICS = (
    "params",
    "macs",
    "latency_ms",
    "ort_latency_ms",
    "peak_memory_mb",
    "energy_mj",
)
"""Metrics of what a network costs, whatever the task; those after ``latency_ms`` are measured
where an objective names them."""

_PATTERN = re.compile(r"^\s*([A-Za-z_][\w.-]*)\s*(?:(<=|>=)\s*([^\s<>=]+)\s*)?$")


@dataclass(frozen=True)
class Objective:
    """A metric, its direction and an optional limit.

    Attributes:
        metric: Name of the metric, e.g. ``accuracy`` or ``latency_ms``.
        direction: "max" or "min".
        limit: Largest (direction "min") or smallest (direction "max") value allowed, or None.
    """

    metric: str
    direction: str
    limit: float | None = None

    @staticmethod
    def parse(text: str, metrics: Iterable[str] = ()) -> "Objective":
        """Reads ``accuracy``, ``latency_ms<=5``, ``params<=1e6`` or ``dice>=0.8``.

        Args:
            text: The objective.
            metrics: Metrics of the task, known beside the built-in ones; where it maps names to
                torchmetrics objects, these say whether larger is better.

        Raises:
            UsageError: Not that form, an unknown metric, or a limit on the wrong side.
        """
        match = _PATTERN.match(text)
        if match is None:
            raise UsageError(
                f"{text!r} is not an objective: write a metric such as accuracy, or a limit such "
                "as latency_ms<=5."
            )
        metric, relation, value = match.groups()
        known = [*metrics, "loss", *COST_METRICS]
        if metric not in known:
            raise UsageError(
                f"Unknown metric {metric!r} in the objective {text!r}: known here are "
                f"{', '.join(dict.fromkeys(known))}."
            )
        direction = DIRECTIONS.get(metric, _direction(metrics, metric))
        if relation is None:
            return Objective(metric, direction)
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if not math.isfinite(limit):
            raise UsageError(f"{value!r} in the objective {text!r} is not a number.")
        wanted = "<=" if direction == "min" else ">="
        if relation != wanted:
            raise UsageError(
                f"{metric!r} is made {'small' if direction == 'min' else 'large'}: write "
                f"{metric}{wanted}{value}."
            )
        return Objective(metric, direction, limit)

    def score(self, metrics: Mapping[str, float | None]) -> float:
        """The value with the sign that makes larger better; minus infinity where it is missing."""
        value = metrics.get(self.metric)
        if value is None or math.isnan(value):
            return -math.inf
        return value if self.direction == "max" else -value

    def allows(self, metrics: Mapping[str, float | None]) -> bool:
        """Whether the limit, if any, is kept."""
        if self.limit is None:
            return True
        signed = self.limit if self.direction == "max" else -self.limit
        return self.score(metrics) >= signed

    def __str__(self) -> str:
        if self.limit is None:
            return self.metric
        relation = ">=" if self.direction == "max" else "<="
        # All digits: what is written must read back as the same limit.
        return f"{self.metric}{relation}{repr(self.limit).removesuffix('.0')}"


def _direction(metrics: Iterable[str], name: str) -> str:
    metric = metrics.get(name) if isinstance(metrics, Mapping) else None
    return "min" if getattr(metric, "higher_is_better", None) is False else "max"


def made_small(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics of a task of which less is better."""
    return [name for name in metrics if DIRECTIONS.get(name, _direction(metrics, name)) == "min"]


def parse_objectives(texts: Sequence[str], metrics: Collection[str]) -> list[Objective]:
    """Reads several objectives, goals first.

    Where all have limits, the task's first metric is the goal: with its limit where it has one,
    else put in.

    Raises:
        UsageError: As :meth:`Objective.parse`, or a metric named twice.
    """
    parsed = [Objective.parse(text, metrics) for text in texts]
    for i, objective in enumerate(parsed):
        if any(objective.metric == other.metric for other in parsed[:i]):
            raise UsageError(
                f"The objective {objective.metric!r} is given twice: name it once, "
                "with its limit if it has one."
            )
    if any(o.limit is None for o in parsed):
        return sorted(parsed, key=lambda o: o.limit is not None)
    if not metrics:
        return parsed
    goal = next(iter(metrics))
    if all(o.metric != goal for o in parsed):
        parsed.append(Objective.parse(goal, metrics))
    return sorted(parsed, key=lambda o: o.metric != goal)


def pareto(scores: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other point dominates; larger is better in each column.

    Of equal points the first stays.
    """
    if not scores:
        return []
    points = np.asarray(scores, dtype=np.float64)
    front = []
    for i, point in enumerate(points):
        above = (points >= point).all(axis=1)
        equal = (points == point).all(axis=1)
        equal[:i] = False
        if not (above & ~equal).any():
            front.append(i)
    return front
