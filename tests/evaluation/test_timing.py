"""How a time becomes epochs, for each network by its own speed."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nas_domains as nd
from nas_domains.core.run import Run
from nas_domains.evaluation import compare
from nas_domains.evaluation.timing import EpochTime
from nas_domains.hardware.cost import count_params
from tests.make import make_task, stopped_after, stripped

POSITIVE = st.floats(1e-3, 10)


@given(POSITIVE, st.integers(1, 50), POSITIVE, st.floats(1e-3, 1000))
def test_epochs_take_the_time(step: float, steps: int, scoring: float, seconds: float) -> None:
    epochs = EpochTime(step, steps, scoring).epochs(seconds)
    done = round(epochs * steps)
    assert done >= 1 and epochs == pytest.approx(done / steps, abs=1e-6)
    spent = done * step + math.ceil(done / steps) * scoring
    # Off by rounding to a step, or as there is no time left for scoring a part of an epoch.
    assert abs(spent - seconds) <= step + scoring + 1e-6 * seconds


def by_size(network: Any, context: Any, seconds: float) -> EpochTime:
    """In place of a measurement: a step of a larger network takes longer."""
    return of_size(count_params(network))


def of_size(params: int) -> EpochTime:
    return EpochTime(params**0.5 / 100, 2, 0.5)


OPTIONS: dict[str, Any] = {
    "strategy": "random",
    "budget": "trials=2,epochs=1",
    "seed": 3,
    "randoms": 1,
    "quiet": True,
}
PER_EPOCH = 4
SPACE = "nasbench201:cells=1,channels=4"


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "epoch_time", by_size)
        return nd.search(SPACE, make_task(), out=out, train_budget="4s", **OPTIONS)


def test_all_rows_train_for_the_same_time(timed: Run) -> None:
    plan = timed.config["plan"]["train"]
    assert plan["seconds"] == 4 and set(plan["rows"]) == {"winner", "random/0", "resnet18-quarter"}
    params = {"winner": timed.result["best"]["metrics"]["params"]}
    for i, metrics in enumerate(timed.result["random_baseline"]["metrics"]):
        params[f"random/{i}"] = metrics["params"]
    params |= {name: m["params"] for name, m in timed.result["baselines"].items()}
    for name, epochs in plan["rows"].items():
        assert epochs == of_size(params[name]).epochs(4)
        (test,) = timed.history.of(f"test/{name}/0")
        assert test.fidelity == {"epochs": epochs}
        assert len(timed.history.of(f"train/{name}/0")) == math.ceil(epochs)
    assert plan["rows"]["resnet18-quarter"] < plan["rows"]["winner"], "small ones see more"
    page = (timed.path / "report.html").read_text()
    assert '<th scope="col">epochs</th>' in page and "winner " in page


def test_the_plan_is_repeated_without_a_clock(
    timed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "epoch_time", None)
    options = {k: v for k, v in OPTIONS.items() if k != "budget"}
    again = nd.search(SPACE, make_task(), out=tmp_path / "b", plan=timed.path, **options)
    assert stripped(again.result) == stripped(timed.result)


def test_other_networks_have_epochs_of_their_own(
    timed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another seed a row of the same name is another network."""
    monkeypatch.setattr(compare, "epoch_time", by_size)
    options = {k: v for k, v in OPTIONS.items() if k != "budget"} | {"seed": 4}
    other = nd.search(SPACE, make_task(), out=tmp_path / "b", plan=timed.path, **options)
    (random,) = other.result["random_baseline"]["metrics"]
    assert random["params"] != timed.result["random_baseline"]["metrics"][0]["params"]
    rows = other.config["plan"]["train"]["rows"]
    assert rows["random/0"] == of_size(random["params"]).epochs(4)
    known = timed.config["plan"]["train"]["rows"]
    assert rows["resnet18-quarter"] == known["resnet18-quarter"]


def test_a_stopped_run_keeps_the_epochs_it_found(
    timed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "b"
    # Each step is saved: those of two trials, of the first row, and one of the second.
    first = timed.config["plan"]["train"]["rows"]["winner"]
    with stopped_after(2 * PER_EPOCH + round(first * PER_EPOCH) + 1):
        monkeypatch.setattr(compare, "epoch_time", by_size)
        nd.search(SPACE, make_task(), out=out, train_budget="4s", **OPTIONS)
    found = Run.open(out).config["plan"]["train"]["rows"]

    def other(network: Any, context: Any, seconds: float) -> EpochTime:
        assert len(asked) < len(timed.config["plan"]["train"]["rows"]) - len(found)
        asked.append(1)
        return by_size(network, context, seconds)

    asked: list[int] = []
    monkeypatch.setattr(compare, "epoch_time", other)
    run = nd.resume(out, task=make_task(), quiet=True)
    assert list(found) == ["winner", "random/0"] and stripped(run.result) == stripped(timed.result)
    pairs = zip(nd.load(timed.path).parameters(), nd.load(out).parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
