"""Runs of black-box strategies on a person's own space, from nd.search to the result."""

from pathlib import Path
from typing import Any

import pytest

import nas_domains as nd
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
