"""The contract tests that every strategy inherits.

    class TestMine(StrategyContract):
        budget = "trials=3,epochs=1"

        def make_strategy(self) -> Strategy:
            return mine()

        def make_space(self) -> SearchSpace:
            return my_space()

Needs the extra ``test``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
import torch
from torch.utils.data import TensorDataset

from ..core.budget import COUNTS, Budget
from ..core.errors import UsageError
from ..core.history import History, Record
from ..core.objective import parse_objectives
from ..core.progress import Reporter
from ..core.seeds import derive
from ..core.space import Choice, SearchSpace
from ..core.task import Task
from ..evaluation import loop
from ..evaluation.context import Context, make_accelerator
from ..strategies.base import Strategy

__all__ = [
    "StrategyContract",
    "bars",
    "bars_task",
    "counted_saves",
    "small_context",
    "stopped_after",
]


def bars(n: int, seed: int) -> TensorDataset:
    """Images [n, 1, 8, 8] of noise; the brightest third says the class, of three."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    x = 0.5 * torch.randn((n, 1, 8, 8), generator=generator)
    for i, label in enumerate(y.tolist()):
        x[i, :, label * 8 // 3 : (label + 1) * 8 // 3] += 1.0
    return TensorDataset(x, y)


def bars_task(n: int = 48, **options: Any) -> Task:
    """A task on :func:`bars` that is learnt in a few steps."""
    task = Task.from_datasets(bars(n, 0), bars(24, 1), bars(24, 2), name="bars", **options)
    return task.with_recipe(batch_size=12)


def small_context(
    path: Path,
    space: SearchSpace,
    task: Task | None = None,
    *,
    objectives: tuple[str, ...] = (),
    seed: int = 0,
) -> Context:
    """A context on the CPU whose record lies in ``path``; of :func:`bars_task` by default."""
    task = task or bars_task()
    return Context(
        space=space,
        task=task,
        objectives=parse_objectives(objectives, task.metrics),
        seed=seed,
        accelerator=make_accelerator("cpu", "float32"),
        history=History(path / "history.jsonl"),
        checkpoints=path / "checkpoints",
        reporter=Reporter(quiet=True),
    )


@contextmanager
def stopped_after(saves: int) -> Iterator[None]:
    """Within the block every step is saved, and after that many saves it stops as by Ctrl-C.

    Args:
        saves: Checkpoints that are written before.
    """
    save, left = loop._save, saves

    def stop(*arguments: Any) -> None:
        nonlocal left
        save(*arguments)
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with (
        mock.patch.object(loop, "SAVE_EVERY_SECONDS", 0.0),
        mock.patch.object(loop, "_save", stop),
        pytest.raises(KeyboardInterrupt),
    ):
        yield


@contextmanager
def counted_saves() -> Iterator[list[Path]]:
    """Within the block every step is saved; gives the list to which each save adds its file."""
    made: list[Path] = []
    save = loop._save

    def count(path: Path, *arguments: Any) -> None:
        save(path, *arguments)
        made.append(path)

    with (
        mock.patch.object(loop, "SAVE_EVERY_SECONDS", 0.0),
        mock.patch.object(loop, "_save", count),
    ):
        yield made


class StrategyContract:
    """Base of a strategy's tests.

    Attributes:
        budget: A small exact budget.
        trains: Whether anything is trained, so that records hold the task's metrics.
    """

    budget: ClassVar[str] = "epochs=3"
    trains: ClassVar[bool] = True

    def make_strategy(self) -> Strategy:
        """The strategy under test."""
        raise NotImplementedError

    def make_space(self) -> SearchSpace:
        """A small space that it can search."""
        raise NotImplementedError

    def _context(self, path: Path, objectives: tuple[str, ...] = (), seed: int = 0) -> Context:
        path.mkdir(exist_ok=True)
        return small_context(path, self.make_space(), objectives=objectives, seed=seed)

    def _search(self, context: Context) -> list[Record]:
        strategy = self.make_strategy()
        strategy.search(context, strategy.plan(context, Budget.parse(self.budget)))
        return context.history.of("search")

    def test_records_hold_architectures_of_the_space_and_their_metrics(
        self, tmp_path: Path
    ) -> None:
        context = self._context(tmp_path)
        records = self._search(context)
        assert [r.step for r in records] == list(range(1, len(records) + 1))
        for record in records:
            assert record.architecture is not None
            context.space.architecture(record.architecture)
            for metric in context.task.metrics:
                assert (record.metrics[metric] is not None) == self.trains, metric
            assert record.metrics["params"] is not None and record.metrics["macs"] is not None
            assert (record.fidelity["epochs"] >= 1) == self.trains and record.seconds > 0

    def test_the_same_seed_gives_the_same_records(self, tmp_path: Path) -> None:
        first = self._search(self._context(tmp_path / "a", seed=5))
        second = self._search(self._context(tmp_path / "b", seed=5))
        assert [_bits(r) for r in first] == [_bits(r) for r in second]
        other = self._search(self._context(tmp_path / "c", seed=6))
        assert [_bits(r) for r in first] != [_bits(r) for r in other]

    def test_a_search_interrupted_anywhere_ends_in_the_same_records(self, tmp_path: Path) -> None:
        if not self.trains:
            self._stopped_between_trials(tmp_path)
            return
        with counted_saves() as saves:
            whole = self._search(self._context(tmp_path / "a"))
        # A place of its own for each strategy, and so in all parts of a search.
        name = self.make_strategy().name
        with stopped_after(1 + derive(0, name) % (len(saves) - 1)):
            self._search(self._context(tmp_path / "b"))
        resumed = self._search(self._context(tmp_path / "b"))
        assert [_bits(r) for r in resumed] == [_bits(r) for r in whole]

    def _stopped_between_trials(self, tmp_path: Path) -> None:
        whole = self._search(self._context(tmp_path / "a"))
        assert len(whole) > 2
        cut = self._context(tmp_path / "b")
        for record in whole[: len(whole) // 2]:
            cut.history.add(record)
        assert [_bits(r) for r in self._search(cut)] == [_bits(r) for r in whole]

    def test_a_longer_time_is_a_larger_plan_that_repeats(self, tmp_path: Path) -> None:
        strategy = self.make_strategy()
        short = strategy.plan(self._context(tmp_path / "a"), Budget.parse("1s"))
        long = strategy.plan(self._context(tmp_path / "b"), Budget.parse("60s"))
        assert set(short) == set(long) and all(value >= 1 for value in short.values())
        assert sum(long.values()) > sum(short.values())

    def test_a_budget_of_other_units_is_refused(self, tmp_path: Path) -> None:
        strategy = self.make_strategy()
        for unit in COUNTS:
            budget = Budget.parse(f"{unit}=3")
            if unit in strategy.units:
                assert strategy.plan(self._context(tmp_path), budget)
            else:
                with pytest.raises(UsageError, match=f"{unit}=3"):
                    strategy.plan(self._context(tmp_path), budget)

    def test_limits_are_kept_or_refused(self, tmp_path: Path) -> None:
        context = self._context(tmp_path)
        networks = [
            context.space.build(a, context.task.input_shape, context.task.outputs)
            for a in context.space.sample(9)
        ]
        sizes = sorted(sum(p.numel() for p in n.parameters()) for n in networks)
        limit = f"params<={sizes[len(sizes) // 2]}"
        context = self._context(tmp_path, objectives=("accuracy", limit))
        strategy = self.make_strategy()
        try:
            strategy.check(context.space, context.objectives)
        except UsageError as error:
            assert "params" in str(error)
            return
        assert strategy.keeps_limits
        for record in self._search(context):
            assert all(o.allows(record.metrics) for o in context.objectives)

    def test_a_supernet_is_asked_for_where_it_is_needed(self, tmp_path: Path) -> None:
        strategy = self.make_strategy()
        plain = SearchSpace("plain", [Choice("a", (1, 2))])
        objectives = parse_objectives((), ["accuracy"])
        if strategy.needs_supernet:
            with pytest.raises(UsageError, match="plain"):
                strategy.check(plain, objectives)
        else:
            strategy.check(plain, objectives)


def _bits(record: Record) -> tuple[Any, ...]:
    """What must repeat: all but the seconds and measured latency."""
    metrics = {k: v for k, v in record.metrics.items() if k != "latency_ms"}
    return record.step, record.architecture, record.fidelity, metrics, record.detail
