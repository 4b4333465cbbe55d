"""Search without training: what it finds, limits, what it prints, what it refuses."""

import io
from pathlib import Path

import pytest
from rich.console import Console

import nas_domains as nd
from nas_domains.core.errors import UsageError
from nas_domains.core.objective import parse_objectives
from nas_domains.core.progress import Reporter
from nas_domains.evaluation.proxies.joint import joint_ranks
from nas_domains.strategies import presets
from tests.make import Widths, make_context, make_task, one_sentence


def test_the_winner_is_first_by_the_joint_rank_and_nothing_is_trained(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    strategy = presets.zero_cost()
    strategy.search(context, {"trials": 14})
    records = context.history.of("search")
    assert len(records) == len(context.history) == 14
    assert len({repr(r.architecture) for r in records}) == 14
    ranks = joint_ranks([r.detail["proxies"] for r in records])
    winner = strategy.choose(context, records)
    assert ranks[records.index(winner)] == max(ranks)
    # After its first draws it moves among neighbours of the best.
    early = joint_ranks([r.detail["proxies"] for r in records[:10]])
    start, next_one = records[early.index(max(early))].architecture, records[10].architecture
    assert start is not None and next_one is not None
    assert sum(next_one[k] != v for k, v in start.items()) == 1


def test_sizes_and_their_bias_are_printed_beside_the_ranks(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    text = io.StringIO()
    context.reporter = Reporter(console=Console(file=text, width=200))
    presets.zero_cost().search(context, {"trials": 6})
    shown = text.getvalue()
    best = max(context.history.of("search"), key=lambda r: r.metrics["params"] or 0)
    assert "joint rank 1.000" in shown or "joint rank 0." in shown
    assert f"{best.metrics['params']:,} parameters" in shown
    assert "correlation of joint ranks with parameters" in shown and "with MACs" in shown


def test_a_measured_limit_is_kept_and_a_small_space_ends_the_search(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths(), objectives=("accuracy", "latency_ms<=1e-9"))
    strategy = presets.zero_cost()
    strategy.search(context, {"trials": 3})
    records = context.history.of("search")
    assert len(records) == context.space.size() == 9
    assert all(r.detail == {"refused": True} for r in records)
    with pytest.raises(UsageError) as error:
        strategy.choose(context, records)
    one_sentence(str(error.value), "latency_ms<=1e-09")


def test_a_run_from_end_to_end_draws_ranks_over_size(tmp_path: Path) -> None:
    run = nd.search(
        "nasbench201:cells=1,channels=4",
        make_task(),
        out=tmp_path / "run",
        strategy="zero-cost",
        objectives=["accuracy", "params<=6000"],
        budget="trials=5",
        train_budget="epochs=1",
        randoms=1,
        quiet=True,
    )
    assert run.result["best"]["metrics"]["params"] <= 6000
    assert run.result["best"]["metrics"]["accuracy"] is not None
    assert run.result["pareto"] == []
    page = (tmp_path / "run" / "report.html").read_text()
    assert "What proxies say, over parameters" in page
    # What was ranked is explained as ranks, not as an accuracy that nothing measured.
    found = run.result["explanation"]
    assert found["metric"] is None and "(joint rank)" in found["runner_up"]["why"]
    assert "accuracy" not in found["runner_up"]["why"]


@pytest.mark.parametrize(
    ("objectives", "named"),
    [
        (["params"], "params"),
        (["accuracy>=0.9"], "accuracy>=0.9"),
        (["accuracy", "f1"], "accuracy, f1"),
    ],
)
def test_what_proxies_cannot_stand_in_for_is_refused(objectives: list[str], named: str) -> None:
    with pytest.raises(UsageError) as error:
        presets.zero_cost().check(Widths(), parse_objectives(objectives, ["accuracy", "f1"]))
    one_sentence(str(error.value), "zero-cost", named)
