"""Trials that have a time: their own speed makes epochs of it, once."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

import nas_domains as nd
from nas_domains.core.budget import Budget
from nas_domains.core.evaluate import Fidelity
from nas_domains.core.history import Record
from nas_domains.core.run import Run
from nas_domains.evaluation.context import Context
from nas_domains.evaluation.timing import EpochTime
from nas_domains.hardware.cost import count_params
from nas_domains.strategies import presets, trials
from nas_domains.testing.strategies import stopped_after
from tests.make import Widths, make_context, make_task, stripped

SECONDS = 40.0
PLAN = {"trials": 4, "seconds": SECONDS}
OPTIONS: dict[str, Any] = {"space": Widths(), "strategy": "random", "randoms": 1, "quiet": True}


def of_size(params: float) -> EpochTime:
    """A second for each hundred parameters."""
    return EpochTime(params / 200, 2, 0.0)


def by_size(network: nn.Module, context: Context, seconds: float) -> EpochTime:
    assert seconds == pytest.approx(trials.TIMING * SECONDS)
    return of_size(count_params(network))


def timed_context(path: Path, **changes: Any) -> Context:
    path.mkdir(exist_ok=True)
    context = make_context(path, Widths())
    context.timed = True
    for name, value in changes.items():
        setattr(context, name, value)
    return context


def search(context: Context, plan: dict[str, Any] = PLAN) -> list[Record]:
    presets.random().search(context, plan)
    return context.history.of("search")


def of(records: list[Record]) -> list[Any]:
    return [(r.architecture, r.fidelity, r.metrics["accuracy"], r.detail) for r in records]


def test_small_networks_see_the_data_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "epoch_time", by_size)
    context = timed_context(tmp_path)
    records = search(context)
    for record in records:
        params = record.metrics["params"]
        assert params is not None
        epochs = max(1, round(of_size(params).epochs(SECONDS)))
        assert record.fidelity == {"epochs": epochs, "seconds": SECONDS} and not record.detail
        assert len(context.history.of(f"trial/{record.step - 1}")) == epochs
    assert len({r.fidelity["epochs"] for r in records}) > 1


def test_what_was_found_is_kept_over_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "epoch_time", by_size)
    whole = search(timed_context(tmp_path / "a"))
    with stopped_after(5):
        search(timed_context(tmp_path / "b"))
    stopped = timed_context(tmp_path / "b")
    begun = {r.stage for r in stopped.history if r.stage.endswith("/costs")}
    asked = []

    def other(network: nn.Module, context: Context, seconds: float) -> EpochTime:
        asked.append(1)
        return by_size(network, context, seconds)

    monkeypatch.setattr(trials, "epoch_time", other)
    assert of(search(stopped)) == of(whole)
    assert begun and len(asked) == len(whole) - len(begun)


def test_several_workers_find_it_themselves(tmp_path: Path) -> None:
    context = timed_context(tmp_path, workers=2)
    records = search(context, {"trials": 3, "seconds": 0.2})
    for record in records:
        epochs = record.fidelity["epochs"]
        assert epochs >= 1 and len(context.history.of(f"trial/{record.step - 1}")) == epochs


def test_networks_that_break_a_limit_are_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "epoch_time", None)
    context = make_context(tmp_path, Widths(), objectives=("accuracy", "latency_ms<=1e-9"))
    context.timed = True
    records = search(context)
    assert records and all(r.detail == {"refused": True} for r in records)
    assert all(r.fidelity == {"epochs": 0, "seconds": SECONDS} for r in records)


def test_the_cheaper_network_is_timed_and_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def shape(network: nn.Module, context: Context, seconds: float) -> EpochTime:
        seen.append((context.task.input_shape, len(context.task.train)))
        return EpochTime(SECONDS, 1, 0.0)

    monkeypatch.setattr(trials, "epoch_time", shape)
    context = timed_context(tmp_path, shares={"data": 0.5, "resolution": 0.5})
    records = search(context)
    (channels, *sides), samples = context.task.input_shape, len(context.task.train)
    assert set(seen) == {((channels, *(side // 2 for side in sides)), samples // 2)}
    assert all(r.fidelity["epochs"] == 1 and r.fidelity["data"] == 0.5 for r in records)


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize(
    "strategy, stops", [("random", False), ("bayes", False), ("bohb", True), ("hyperband", True)]
)
def test_trials_have_a_time_where_full_trainings_have_one(
    tmp_path: Path, strategy: str, stops: bool, timed: bool
) -> None:
    context = timed_context(tmp_path, timed=timed)
    plan = nd.core.registry.strategies.get(strategy).plan(context, Budget.parse("20s"))
    assert set(plan) == {"trials", "seconds" if timed and not stops else "epochs"}
    if "seconds" in plan:
        # A third of the recipe's epochs or a share of the budget.
        assert 0 < plan["seconds"] <= 20 / 16
        # The timing is paid for.
        assert plan["trials"] >= 16
        assert (plan["trials"] - 1) * plan["seconds"] * (1 + trials.TIMING) < 20


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("timed") / "run"
    return nd.search(task=make_task(), out=out, budget="3s", train_budget="1s", **OPTIONS)


def test_a_run_in_minutes_has_trials_of_one_time(finished: Run) -> None:
    plan = finished.config["plan"]["search"]
    records = finished.history.of("search")
    assert set(plan) == {"trials", "seconds"} and len(records) == min(plan["trials"], 9)
    assert all(r.fidelity["seconds"] == plan["seconds"] for r in records)
    assert f"seconds={plan['seconds']}" in (finished.path / "report.html").read_text()


def test_its_plan_is_repeated_without_a_clock(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "epoch_time", None)
    again = nd.search(task=make_task(), out=tmp_path / "b", plan=finished.path, **OPTIONS)
    first, second = finished.history.of("search"), again.history.of("search")
    assert of(first) == of(second)
    each = [r.fidelity["epochs"] for r in first]
    assert again.config["plan"]["search"]["each"] == each
    assert "epochs=those of its trials" in (again.path / "report.html").read_text()
    other = stripped(again.result)
    other["plan"]["search"].pop("each")
    assert other == stripped(finished.result)
    # And that of the repetition too.
    third = nd.search(task=make_task(), out=tmp_path / "c", plan=again.path, **OPTIONS)
    assert of(third.history.of("search")) == of(first)


def test_a_time_is_written_down_beside_the_epochs() -> None:
    assert Fidelity(0, seconds=9.5).as_dict() == {"epochs": 0, "seconds": 9.5}
    assert Fidelity(3).as_dict() == {"epochs": 3}
