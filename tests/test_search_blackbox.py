"""Runs of black-box strategies on a person's own space, from nd.search to the result."""

from pathlib import Path
from typing import Any

import pytest

import nas_domains as nd
from nas_domains.core.architecture import Architecture
from tests.make import Widths, make_task, one_sentence, stopped_after, stripped


def test_the_default_keeps_limits_and_weighs_goals(tmp_path: Path) -> None:
    run = nd.search(
        Widths(),
        make_task(),
        out=tmp_path / "a",
        budget="trials=6,epochs=1",
        train_budget="epochs=1",
        objectives=["accuracy", "latency_ms", "params<=700"],
        quiet=True,
    )
    assert run.config["strategy"] == "bayes"
    records = run.history.of("search")
    assert len(records) == 6 and all(r.metrics["params"] <= 700 for r in records)
    assert run.best.metrics["params"] <= 700
    assert all(m["params"] <= 700 for m in run.result["random_baseline"]["metrics"])
    assert run.result["objectives"] == ["accuracy", "latency_ms", "params<=700"]
    values = {r.metrics["accuracy"] for r in records}
    assert run.result["best"]["search_metrics"]["accuracy"] == max(values)
    for point in run.pareto:
        assert not any(
            r.metrics["accuracy"] >= point.metrics["accuracy"]
            and r.metrics["latency_ms"] < point.metrics["latency_ms"]
            and r.metrics["params"] <= point.metrics["params"]
            for r in records
        )


def test_a_limit_out_of_reach_is_said(tmp_path: Path) -> None:
    with pytest.raises(nd.UsageError) as error:
        nd.search(
            Widths(),
            make_task(),
            out=tmp_path / "a",
            budget="trials=2,epochs=1",
            objectives=["params<=10"],
            quiet=True,
        )
    one_sentence(str(error.value), "params<=10")
    assert not (tmp_path / "a").exists()


def test_an_interrupted_random_search_goes_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "budget": "trials=3,epochs=2",
        "train_budget": "epochs=1",
        "quiet": True,
    }
    whole = nd.search(Widths(), make_task(), out=tmp_path / "a", **options)
    with stopped_after(4):
        nd.search(Widths(), make_task(), out=tmp_path / "b", **options)
    with pytest.raises(nd.UsageError) as error:
        nd.resume(tmp_path / "b", task=make_task())
    one_sentence(str(error.value), "widths", "space=")
    with pytest.raises(nd.UsageError) as error:
        nd.resume(tmp_path / "b", space=Widths())
    one_sentence(str(error.value), "bars", "task=")
    run = nd.resume(tmp_path / "b", space=Widths(), task=make_task(), quiet=True)
    assert stripped(run.result) == stripped(whole.result)


class Begun(Widths):
    """Widths with a network to begin with."""

    def begin_with(self) -> list[Architecture]:
        return [self.architecture({"depth": 2, "first": 8, "second": 4})]


def test_strategies_that_learn_begin_with_what_a_space_names(tmp_path: Path) -> None:
    options = {"budget": "trials=2,epochs=1", "train_budget": "epochs=1", "validate": False}
    (named,) = Begun().begin_with()
    for strategy in ("bayes", "random", "hyperband"):
        run = nd.search(
            Begun(), make_task(), out=tmp_path / strategy, strategy=strategy, quiet=True, **options
        )
        first = run.history.find("search", 1)
        assert first is not None and (first.architecture == dict(named)) == (strategy == "bayes")
    # A prior's best comes first, and is not scored again.
    after = nd.search(
        Begun(), make_task(60), out=tmp_path / "b", strategy="bayes", quiet=True,
        priors=[tmp_path / "random"], **options,
    )  # fmt: skip
    winner = nd.Run.open(tmp_path / "random").result["best"]["architecture"]
    tried = [r.architecture for r in after.history.of("search")]
    assert tried[0] == winner and tried[1] == dict(named)


def test_what_a_limit_excludes_is_not_begun_with(tmp_path: Path) -> None:
    run = nd.search(
        Begun(),
        make_task(),
        out=tmp_path / "a",
        strategy="bayes",
        objectives=["accuracy", "params<=400"],
        budget="trials=2,epochs=1",
        train_budget="epochs=1",
        validate=False,
        quiet=True,
    )
    assert all(r.metrics["params"] <= 400 for r in run.history.of("search"))
