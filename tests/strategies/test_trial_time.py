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
from nas_domains.strategies.blackbox import BlackBox
from nas_domains.testing.strategies import stopped_after
from tests.make import Widths, make_context, make_task, stripped

SECONDS = 40.0
PLAN = {"trials": 4, "seconds": SECONDS}
OPTIONS: dict[str, Any] = {"space": Widths(), "strategy": "random", "randoms": 1, "quiet": True}


def of_size(params: float) -> EpochTime:
    """Steps of a second for each hundred parameters, two an epoch, and as long for scoring."""
    return EpochTime(params / 300, 2, params / 300)


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
        epochs = max(1, round(100 * SECONDS / params))
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


@pytest.mark.parametrize("scoring, expected", [(0.0, 18), (1.0, 9), (9.0, 2), (40.0, 1)])
def test_the_nearest_whole_epochs_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoring: float, expected: int
) -> None:
    monkeypatch.setattr(trials, "epoch_time", lambda *_: EpochTime(0.5, 2, scoring))
    (record, *_) = search(timed_context(tmp_path), {"trials": 1, "seconds": 18.0})
    assert record.fidelity["epochs"] == expected


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
    assert min(plan.values()) > 0


@pytest.mark.parametrize(
    "budget, times, setup, expected",
    [
        # A third of the recipe's epochs at mean speed: 10 s, and four steps to find how many.
        ("550s", [EpochTime(0.25, 4, 0.0)] * 4, 0.0, {"trials": 50, "seconds": 10.0}),
        # Sixteen, with what it takes to make and to time them: 1 + (4 + 0.16) + 0.5 + 0.5 s.
        ("106s", [EpochTime(0.01, 50, 0.5)] * 4, 1.0, {"trials": 16, "seconds": 4.93}),
        # An epoch at least, of each: 2 and 6 s, and four steps and the scoring to time it.
        (
            "64s",
            [EpochTime(0.5, 2, 1.0), EpochTime(1.5, 2, 3.0)],
            0.0,
            {"trials": 6, "seconds": 4.0},
        ),
    ],
)
def test_what_it_takes_to_time_a_trial_is_planned(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    budget: str,
    times: list[EpochTime],
    setup: float,
    expected: dict[str, Any],
) -> None:
    monkeypatch.setattr(BlackBox, "_seconds", lambda *_: (times, setup))
    context = timed_context(tmp_path)
    context.task = context.task.with_recipe(epochs=30)
    assert presets.random().plan(context, Budget.parse(budget)) == expected


def rows(records: list[Record]) -> list[dict[str, Any]]:
    return [{"architecture": r.architecture, "fidelity": dict(r.fidelity)} for r in records]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_told_goes_by_the_architecture(tmp_path: Path, workers: int) -> None:
    # In another order, of some only, and others beside them.
    draws = timed_context(tmp_path / "a")
    presets.random().search(draws, {"trials": 4, "epochs": 1})
    drawn = [r.architecture for r in draws.history.of("search")]
    told = [
        {"architecture": drawn[i], "fidelity": {"epochs": 2 + i, "seconds": 0.01}} for i in (3, 1)
    ]
    told.append({"architecture": {"depth": 9}, "fidelity": {"epochs": 7, "seconds": 0.01}})
    context = timed_context(tmp_path / "b", workers=workers)
    records = search(context, {"trials": 4, "seconds": 0.01, "each": told})
    assert [r.architecture for r in records] == drawn
    assert [records[i].fidelity["epochs"] for i in (1, 3)] == [3, 5]


@pytest.mark.parametrize("changed", [{"seconds": 39.0}, {"seconds": SECONDS, "data": 0.5}])
def test_what_is_told_of_another_fidelity_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, float]
) -> None:
    monkeypatch.setattr(trials, "epoch_time", by_size)
    whole = search(timed_context(tmp_path / "a"))
    told = [{**row, "fidelity": {"epochs": 1} | changed} for row in rows(whole)]
    again = search(timed_context(tmp_path / "b"), PLAN | {"each": told})
    assert of(again) == of(whole)


def test_memory_that_runs_out_leaves_a_plan_in_seconds(tmp_path: Path) -> None:
    options = {**OPTIONS, "space": Widths(room=4), "validate": False}
    task = make_task().with_recipe(batch_size=8)
    run = nd.search(task=task, out=tmp_path / "run", budget="3s", train_budget="0.5s", **options)
    assert run.config["plan"]["batch_size"] == 4 and "seconds" in run.config["plan"]["search"]
    records = run.history.of("search")
    assert records and all(r.fidelity["epochs"] >= 1 for r in records)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("timed") / "run"
    return nd.search(task=make_task(), out=out, budget="3s", train_budget="1s", **OPTIONS)


def test_a_run_in_minutes_has_trials_of_one_time(finished: Run) -> None:
    plan = finished.config["plan"]["search"]
    records = finished.history.of("search")
    assert set(plan) == {"trials", "seconds"} and len(records) == min(plan["trials"], 9)
    assert all(r.fidelity["seconds"] == plan["seconds"] for r in records)
    assert f"seconds={plan['seconds']} each" in (finished.path / "report.html").read_text()
    # All were scored in the same time, so all of them say why the winner won.
    assert finished.result["explanation"]["n"] == len(records)


def test_its_plan_is_repeated_without_a_clock(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "epoch_time", None)
    again = nd.search(task=make_task(), out=tmp_path / "b", plan=finished.path, **OPTIONS)
    first, second = finished.history.of("search"), again.history.of("search")
    assert of(first) == of(second)
    assert again.config["plan"]["search"]["each"] == rows(first)
    assert f"(epochs of {len(first)} networks told)" in (again.path / "report.html").read_text()
    other = stripped(again.result)
    other["plan"]["search"].pop("each")
    assert other == stripped(finished.result)
    # And that of the repetition too, though it has not come to all trials yet.
    lines = [line for line in again.history.path.read_text().splitlines() if '"search"' in line]
    again.history.path.write_text("\n".join(lines[:1]) + "\n")
    third = nd.search(task=make_task(), out=tmp_path / "c", plan=again.path, **OPTIONS)
    assert of(third.history.of("search")) == of(first)


def test_a_time_is_written_down_beside_the_epochs() -> None:
    assert Fidelity(0, seconds=9.5).as_dict() == {"epochs": 0, "seconds": 9.5}
    assert Fidelity(3).as_dict() == {"epochs": 3}
