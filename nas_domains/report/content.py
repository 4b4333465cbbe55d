"""What a run's files say, in the form in which the report draws it."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from ..core.errors import UsageError
from ..core.history import Record
from ..core.objective import COST_METRICS, Objective, parse_objectives
from ..core.registry import spaces
from ..core.run import Run
from ..core.space import SearchSpace
from ..nn.cell import Edge
from ..nn.cell_space import CellSpace
from .words import known

SEARCH, WINNER = "search", "winner"


@dataclass(frozen=True)
class Row:
    """One network of the comparison.

    Attributes:
        name: As in the history: "winner", "random/0" or the name of a hand-made network.
        kind: "winner", "random" or "hand-made".
        metrics: On the test split, the mean over the seeds.
        tests: The test record of each seed.
        training: The epochs of each seed's training.
    """

    name: str
    kind: str
    metrics: Mapping[str, Any]
    tests: Sequence[Record]
    training: Mapping[str, Sequence[Record]]

    @property
    def label(self) -> str:
        """As it is shown."""
        return self.name.replace("/", " ") if self.kind == "random" else self.name

    def values(self, metric: str) -> list[float]:
        """The test metric of each seed that has one."""
        values = [r.metrics.get(metric) for r in self.tests]
        return [value for value in values if known(value)]

    def spread(self, metric: str) -> float | None:
        """Standard deviation over the seeds, or None with fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def validation(self, metric: str) -> float | None:
        """Mean over the seeds of the validation metric of the epoch whose weights were kept."""
        return mean([r.detail.get("validation", {}).get(metric) for r in self.tests])

    @property
    def epochs(self) -> float | None:
        """Mean epochs of a training."""
        return mean([r.fidelity.get("epochs") for r in self.tests])

    @property
    def seconds(self) -> float | None:
        """Mean seconds of a training."""
        return mean([r.detail.get("train_seconds") for r in self.tests])


def mean(values: Sequence[Any]) -> float | None:
    """The mean, or None where a value is missing or there is none."""
    return statistics.fmean(values) if values and all(map(known, values)) else None


class Content:
    """Config, environment, history and, where there is one, the result of a run.

    Args:
        run: Finished or not.

    Raises:
        UsageError: A file of the run is damaged.
    """

    def __init__(self, run: Run) -> None:
        self.path = run.path
        self.config = run.config
        self.records = list(run.history)
        self.result: dict[str, Any] = run.result if run.finished else {}
        self.environment = self._environment()

    def _environment(self) -> dict[str, Any]:
        file = self.path / "environment.json"
        if not file.is_file():
            found: dict[str, Any] = self.result.get("environment", {})
            return found
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise UsageError(f"{str(file)!r} is damaged: delete it, the report does without it.")
        return content

    @property
    def finished(self) -> bool:
        """Whether the run has a result."""
        return bool(self.result)

    @cached_property
    def search(self) -> list[Record]:
        """The scored architectures of the search, by step."""
        return sorted((r for r in self.records if r.stage == SEARCH), key=lambda r: r.step)

    @cached_property
    def task_metrics(self) -> list[str]:
        """The task's own metrics, in its order, as the history has them."""
        first = self.records[0].metrics if self.records else {}
        # Some metrics are computed on the test split alone.
        tested = next((r.metrics for r in self.records if r.stage.startswith("test/")), {})
        names = [*first, *(name for name in tested if name not in first)]
        return [name for name in names if name != "loss" and name not in COST_METRICS]

    @cached_property
    def objectives(self) -> list[Objective]:
        """The objectives, the goal first."""
        texts = self.result.get("objectives") or self.config.get("objectives") or []
        small = set(self.config.get("made_small") or [])
        known = {n: SimpleNamespace(higher_is_better=n not in small) for n in self.task_metrics}
        try:
            return parse_objectives(texts, known) or [Objective("loss", "min")]
        except UsageError:
            # Without a record the task's metrics are not known yet.
            return [Objective(text, "max") for text in texts]

    @property
    def goal(self) -> Objective:
        """The first objective."""
        return self.objectives[0]

    @cached_property
    def space(self) -> SearchSpace | None:
        """The space, where it is registered here and has not changed."""
        name = str(self.config["space"]).partition(":")[0]
        if name not in spaces:
            return None
        try:
            space: SearchSpace = spaces.get(name, **self.config.get("space_config", {}))
        except (UsageError, ImportError):
            return None
        return space if space.fingerprint == self.config.get("space_fingerprint") else None

    @cached_property
    def best(self) -> Record | None:
        """The record of the search that won, or leads so far."""
        if self.finished:
            step = self.result["best"].get("step")
            return next((r for r in self.search if r.step == step), None)
        allowed = [r for r in self.search if self.allows(r)]
        if not allowed:
            return None
        return max(allowed, key=lambda r: (self.goal.score(r.metrics), r.step))

    def allows(self, record: Record) -> bool:
        """Whether the record keeps all limits."""
        return all(o.allows(record.metrics) for o in self.objectives)

    @property
    def architecture(self) -> Mapping[str, Any] | None:
        """The winner's choices, or those that lead so far."""
        if self.finished:
            winner: Mapping[str, Any] = self.result["best"]["architecture"]
            return winner
        return self.best.architecture if self.best is not None else None

    def genotype(self, architecture: Mapping[str, Any]) -> dict[str, dict[Edge, str]] | None:
        """The edges of an architecture, where the space is one of cells."""
        if not isinstance(self.space, CellSpace):
            return None
        try:
            return self.space.genotype(self.space.architecture(architecture))
        except UsageError:
            return None

    @cached_property
    def rows(self) -> list[Row]:
        """Winner, random architectures, hand-made networks; of an unfinished run what is there."""
        metrics: dict[str, Mapping[str, Any]] = {}
        if self.finished:
            metrics[WINNER] = self.result["best"]["metrics"]
            baseline = self.result.get("random_baseline") or {}
            metrics |= {f"random/{i}": m for i, m in enumerate(baseline.get("metrics", []))}
            metrics |= self.result.get("baselines") or {}
        tests = self._by_row("test/")
        training = self._by_row("train/")
        names = list(metrics) or sorted(training | tests, key=_rank)
        rows = []
        for name in names:
            own = [record for records in tests.get(name, {}).values() for record in records]
            found = metrics.get(name) or _mean_metrics(own)
            rows.append(Row(name, _kind(name), found, own, training.get(name, {})))
        return rows

    def _by_row(self, prefix: str) -> dict[str, dict[str, list[Record]]]:
        """Row -> seed -> records of its stage, by step."""
        found: dict[str, dict[str, list[Record]]] = {}
        for record in self.records:
            if record.stage.startswith(prefix):
                name, _, seed = record.stage[len(prefix) :].rpartition("/")
                found.setdefault(name, {}).setdefault(seed, []).append(record)
        for seeds in found.values():
            for records in seeds.values():
                records.sort(key=lambda r: r.step)
        return found


def _mean_metrics(records: Sequence[Record]) -> dict[str, Any]:
    names = records[0].metrics if records else {}
    return {name: mean([r.metrics.get(name) for r in records]) for name in names}


def _kind(name: str) -> str:
    if name == WINNER:
        return "winner"
    return "random" if name.startswith("random/") else "hand-made"


def _rank(name: str) -> tuple[int, str]:
    return ("winner", "random", "hand-made").index(_kind(name)), name
