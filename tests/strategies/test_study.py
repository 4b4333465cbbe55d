"""The study: killed at any write it goes on as if it had not been, and scores nothing twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage

from nas_domains.core.errors import UsageError
from nas_domains.core.history import SEARCH, History, Record
from nas_domains.core.space import Choice, SearchSpace
from nas_domains.evaluation.context import Context
from nas_domains.strategies.blackbox import MakeSampler, ended_early
from nas_domains.strategies.pruner import Hyperband
from nas_domains.strategies.samplers import optuna_own
from nas_domains.strategies.samplers.evolution import AgingEvolution
from nas_domains.strategies.samplers.uniform import Uniform
from nas_domains.strategies.study import (
    RunStudy,
    forget,
    open_storage,
    quiet_optuna,
    storage_url,
    whole_url,
)
from nas_domains.strategies.trials import epochs_file
from nas_domains.testing.samplers import additive, conditional_space, flat_space
from tests.make import make_context, one_sentence

WRITES = (
    "create_new_trial",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_user_attr",
    "set_trial_system_attr",
)


def small(space: SearchSpace, *, seed: int, limit: Any) -> AgingEvolution:
    return AgingEvolution(space, seed=seed, limit=limit, population=4, tournament=2)


def play(context: Context, sampler: MakeSampler, trials: int) -> RunStudy:
    """Scores proposals by a sum in place of a training; returns the study, closed."""
    with quiet_optuna():
        study = RunStudy(context, sampler(context.space, seed=1, limit=None), None)
        try:
            while study.done < trials and (proposal := study.next()) is not None:
                choices = dict(proposal.architecture)
                metrics = {"accuracy": float(sum(len(str(o)) for o in choices.values()))}
                record = Record(SEARCH, proposal.step, choices, {"epochs": 1}, metrics, 1.0)
                study.tell(proposal, context.history.add(record))
        finally:
            study.close()
    return study


def trials_of(path: Path) -> list[Any]:
    storage = open_storage(f"sqlite:///{path / 'study.db'}")
    (summary,) = optuna.get_all_study_summaries(storage)
    study = optuna.load_study(study_name=summary.study_name, storage=storage)
    found = [(t.number, t.state, t.params, t.values, t.user_attrs) for t in study.trials]
    storage.engine.dispose()
    return found


def fresh(path: Path, space: SearchSpace | None = None, **options: Any) -> Context:
    path.mkdir(exist_ok=True)
    return make_context(path, space or conditional_space(), **options)


class Killed(BaseException):
    """In place of a signal: nothing catches it."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets after how many more writes of the storage the process "is killed"."""
    left = [10**9]

    def counted(write: Any) -> Any:
        def inner(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return write(*arguments, **options)

        return inner

    for name in WRITES:
        monkeypatch.setattr(RDBStorage, name, counted(getattr(RDBStorage, name)))

    def set_left(writes: int) -> None:
        left[0] = writes

    yield set_left


@pytest.mark.parametrize("sampler", [small, optuna_own.tpe])
def test_killed_again_and_again_it_goes_on_as_if_it_had_not_been(
    tmp_path: Path, kill_at: Any, sampler: MakeSampler
) -> None:
    play(fresh(tmp_path / "whole"), sampler, 12)
    folder, kills = tmp_path / "killed", 0
    while True:
        # Few writes, and not always as many: every place is struck in turn.
        kill_at(5 + kills % 7)
        try:
            study = play(fresh(folder), sampler, 12)
            break
        except Killed:
            kills += 1
    kill_at(10**9)
    assert study.done == 12 and kills > 4
    whole, killed = fresh(tmp_path / "whole"), fresh(folder)
    assert [r for r in whole.history] == [r for r in killed.history]
    assert trials_of(folder) == trials_of(tmp_path / "whole")


def test_a_study_that_was_lost_is_made_again_from_the_record(tmp_path: Path) -> None:
    context = fresh(tmp_path / "a")
    play(context, small, 9)
    before = trials_of(tmp_path / "a")
    forget(storage_url(context), tmp_path / "a")
    play(fresh(tmp_path / "a"), small, 9)
    assert trials_of(tmp_path / "a") == before
    assert len(context.history) == len(fresh(tmp_path / "a").history)


def test_a_record_in_another_order_is_kept_too(tmp_path: Path) -> None:
    """As several workers leave it, which no sampler repeats."""
    context = fresh(tmp_path / "a", flat_space())
    drawn = context.space.sample(5, seed=77)
    for step, architecture in enumerate(drawn, 1):
        metrics = {"accuracy": additive(architecture)}
        context.history.add(Record(SEARCH, step, dict(architecture), {"epochs": 1}, metrics, 1.0))
    study = play(context, Uniform, 7)
    assert list(study.steps)[:5] == drawn and study.done == 7
    assert [r.step for r in context.history.of(SEARCH)] == list(range(1, 8))


@pytest.mark.parametrize("by_worker", [False, True])
def test_a_trial_that_had_begun_keeps_its_architecture(tmp_path: Path, by_worker: bool) -> None:
    """The study was lost, and what it would propose is another architecture."""
    context = fresh(tmp_path / "a", flat_space())
    begun = dict(context.space.sample(1, seed=77)[0])
    costs = Record("trial/0/costs", 0, begun, {}, {"params": 1.0}, 1.0)
    if by_worker:
        History(epochs_file(context.checkpoints, 0)).add(costs)
    else:
        context.history.add(costs)
    play(context, Uniform, 2)
    assert [r.architecture == begun for r in context.history.of(SEARCH)] == [True, False]


def test_only_the_study_of_the_run_is_forgotten(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    (tmp_path / "one").mkdir()
    context = fresh(tmp_path / "one" / "run", flat_space())
    context.storage = url
    play(context, Uniform, 2)
    forget(url, tmp_path / "run")
    assert play(context, Uniform, 2).done == 2
    forget(url, tmp_path / "one" / "run")
    storage = open_storage(url)
    assert not storage.get_all_studies()
    storage.engine.dispose()


def test_a_storage_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert whole_url("sqlite:///a.db") == f"sqlite:///{tmp_path / 'a.db'}"
    whole = f"sqlite:///{tmp_path / 'b.db'}"
    for url in (whole, "sqlite://", "sqlite:///:memory:", "postgresql://u:p@h/d", "nonsense"):
        assert whole_url(url) == url


def test_nothing_is_scored_twice_and_a_space_that_ends_is_said(tmp_path: Path) -> None:
    space = SearchSpace("small", [Choice("a", tuple(range(5))), Choice("b", (0, 1))])
    context = fresh(tmp_path / "a", space)
    study = play(context, small, 50)
    records = context.history.of(SEARCH)
    assert len({repr(r.architecture) for r in records}) == len(records) == space.size() == 10
    assert "10 of 50" in ended_early(study, 50)
    again = [t for t in trials_of(tmp_path / "a") if "again" in t[4]]
    for _, _, _, values, attributes in again:
        (known,) = (r for r in records if r.step == attributes["again"])
        assert values == [known.metrics["accuracy"]]
    assert again


def test_priors_come_first(tmp_path: Path) -> None:
    context = fresh(tmp_path / "a", flat_space())
    priors = context.space.sample(3, seed=5)
    context.priors = priors
    study = play(context, small, 6)
    assert list(study.steps)[:3] == priors and study.done == 6


def test_several_goals_and_what_the_dashboard_shows(tmp_path: Path) -> None:
    objectives = ("accuracy", "loss", "params<=5")
    context = fresh(tmp_path / "my-run", flat_space(), objectives=objectives)
    with quiet_optuna():
        study = RunStudy(context, Uniform(context.space), None)
        proposal = study.next()
        assert proposal is not None
        metrics = {"accuracy": 0.5, "loss": 2.0, "params": 3.0}
        record = Record(SEARCH, 1, dict(proposal.architecture), {"epochs": 1}, metrics, 1.0)
        study.tell(proposal, context.history.add(record))
        study.close()
    storage = open_storage(f"sqlite:///{tmp_path / 'my-run' / 'study.db'}")
    loaded = optuna.load_study(study_name="my-run", storage=storage)
    assert [d.name for d in loaded.directions] == ["MAXIMIZE", "MINIMIZE"]
    (trial,) = loaded.trials
    assert trial.values == [0.5, 2.0]
    assert trial.params == dict(proposal.architecture)
    assert metrics.items() <= trial.user_attrs.items()
    storage.engine.dispose()


def test_a_storage_of_another_run_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    for parent in ("one", "two"):
        (tmp_path / parent).mkdir()
    first = fresh(tmp_path / "one" / "run", flat_space())
    first.storage = url
    play(first, Uniform, 2)
    assert not (tmp_path / "one" / "run" / "study.db").exists()
    second = fresh(tmp_path / "two" / "run", flat_space())
    second.storage = url
    with pytest.raises(UsageError) as error:
        play(second, Uniform, 2)
    one_sentence(str(error.value), url, "--storage")
    first.storage = url
    assert play(first, Uniform, 3).done == 3


def test_a_study_without_its_record_is_refused(tmp_path: Path) -> None:
    play(fresh(tmp_path / "a", flat_space()), Uniform, 2)
    (tmp_path / "a" / "history.jsonl").unlink()
    with pytest.raises(UsageError) as error:
        play(fresh(tmp_path / "a", flat_space()), Uniform, 2)
    one_sentence(str(error.value), "history.jsonl")


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////nowhere/at/all/study.db", "foo://bar/x"])
def test_bad_storages_are_named(url: str) -> None:
    with pytest.raises(UsageError) as error:
        open_storage(url)
    one_sentence(str(error.value), url, "--storage")


def test_the_pruner_ends_what_is_worse(tmp_path: Path) -> None:
    context = fresh(tmp_path / "a", flat_space())
    pruner = Hyperband(9, seed=0)
    with quiet_optuna():
        study = RunStudy(context, Uniform(context.space), None, pruner)
        ends: dict[float, int] = {}
        for number in range(20):
            proposal = study.next()
            assert proposal is not None
            score, epochs = float(number % 7), []
            for epoch in range(1, 10):
                epochs.append(
                    Record("trial", epoch, None, {"epochs": epoch}, {"accuracy": score}, 1.0)
                )
                # Asked again, as after a kill, it answers the same.
                answers = {study.report(proposal, epochs) for _ in range(2)}
                assert len(answers) == 1
                if answers.pop():
                    break
            ends[number] = len(epochs)
            metrics = {"accuracy": score}
            detail = {"stopped": True} if len(epochs) < 9 else {}
            choices, seen = dict(proposal.architecture), {"epochs": len(epochs)}
            record = Record(SEARCH, proposal.step, choices, seen, metrics, 1.0, detail)
            study.tell(proposal, context.history.add(record))
        study.close()
    for number, end in ends.items():
        assert end in (*pruner.rungs(pruner.bracket(number)), 9)
    assert all(end == 9 for n, end in ends.items() if n % 7 == 6)
    assert any(end < 9 for end in ends.values())
