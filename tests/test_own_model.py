"""A person's own model, end to end: searched, resumed, loaded, and the tutorial as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nas_domains as nd
from nas_domains.core.registry import strategies
from nas_domains.core.space import SearchSpace
from nas_domains.export.formats import export
from nas_domains.nn.one_of import OneOf
from nas_domains.strategies.base import Strategy
from nas_domains.testing.strategies import StrategyContract
from tests.make import images, make_task, one_sentence, stopped_after, stripped
from tests.nn.test_model_space import Net

SMALL: dict[str, Any] = {
    "train_budget": "epochs=2",
    "validate": False,
    "seed": 3,
    "quiet": True,
}
BUDGETS = {"random": "trials=3,epochs=1", "darts": "epochs=2"}
EACH = pytest.mark.parametrize("strategy", BUDGETS)
TUTORIAL = Path(__file__).parents[1] / "docs" / "your_own_model.md"


class TestDartsOnAModel(StrategyContract):
    def make_strategy(self) -> Strategy:
        return strategies.get("darts")

    def make_space(self) -> SearchSpace:
        return nd.ModelSpace(Net)


class TestDartsSecondOrderOnAModel(StrategyContract):
    budget = "steps=3"

    def make_strategy(self) -> Strategy:
        return strategies.get("darts-2nd")

    def make_space(self) -> SearchSpace:
        return nd.ModelSpace(Net())


class TestRandomOnAModel(StrategyContract):
    budget = "trials=3,epochs=1"

    def make_strategy(self) -> Strategy:
        return strategies.get("random")

    def make_space(self) -> SearchSpace:
        return nd.ModelSpace(Net)


@EACH
def test_a_model_is_searched_and_comes_back_plain(tmp_path: Path, strategy: str) -> None:
    run = nd.search(
        Net,
        make_task(),
        out=tmp_path / "a",
        strategy=strategy,
        budget=BUDGETS[strategy],
        **SMALL | {"validate": True, "randoms": 1},
    )
    assert run.config["space"] == "Net"
    network = nd.load(run.path, space=Net)
    assert type(network) is Net and not network.training
    assert not any(isinstance(m, OneOf) for m in network.modules())
    assert sum(p.numel() for p in network.parameters()) == run.best.metrics["params"]
    x, y = images(24, 2).tensors
    with torch.no_grad():
        accuracy = (network(x).argmax(1) == y).double().mean()
    assert float(accuracy) == pytest.approx(run.best.metrics["accuracy"])
    assert "Net" in (run.path / "report.html").read_text()
    path, _ = export(run.path, "torch", tmp_path / "m", space=Net)
    assert path.is_file()


@EACH
def test_an_interrupted_search_of_a_model_resumes(tmp_path: Path, strategy: str) -> None:
    options = {"strategy": strategy, "budget": BUDGETS[strategy], **SMALL}
    whole = nd.search(nd.ModelSpace(Net), make_task(), out=tmp_path / "a", **options)
    with stopped_after(3):
        nd.search(Net, make_task(), out=tmp_path / "b", **options)
    with pytest.raises(nd.UsageError) as error:
        nd.resume(tmp_path / "b", task=make_task())
    one_sentence(str(error.value), "'Net'", "space=")
    with pytest.raises(nd.UsageError) as error:
        nd.resume(tmp_path / "b", space=lambda: Net(5), task=make_task())
    one_sentence(str(error.value), "another space")
    run = nd.resume(tmp_path / "b", space=Net, task=make_task(), quiet=True)
    assert stripped(run.result) == stripped(whole.result)
    state = nd.load(whole.path, space=Net).state_dict()
    for name, value in nd.load(run.path, space=Net).state_dict().items():
        assert torch.equal(value, state[name]), name


def test_loading_without_the_model_says_what_to_pass(tmp_path: Path) -> None:
    run = nd.search(
        Net, make_task(), out=tmp_path / "a", strategy="darts", budget="steps=1", **SMALL
    )
    with pytest.raises(nd.UsageError) as error:
        nd.load(run.path)
    one_sentence(str(error.value), "'Net'", "space=")
    with pytest.raises(nd.UsageError) as error:
        nd.load(run.path, space=lambda: Net(5))
    one_sentence(str(error.value), "belongs to the space")


class Skips(nn.Module):
    """Its only candidate with weights drops nearly all of its input, so that the skip wins."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nd.OneOf(
            {"skip": nn.Identity(), "noise": nn.Sequential(nn.Dropout(0.99), nn.Linear(64, 64))}
        )
        self.head = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.mix(x.flatten(1)))


def test_a_collapse_is_said_for_models_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = SMALL | {"quiet": False, "strategy": "darts", "budget": "epochs=20"}
    run = nd.search(Skips, make_task(), out=tmp_path / "a", **options)
    assert run.history.of("search")[-1].architecture == {"mix": "skip"}
    assert "100% of the last decode" in capfd.readouterr().err.replace("\n", " ")


BAD = [
    (lambda: Net(outputs=5), ["'Net'", "(2, 5)", "(2, 3)"]),
    (lambda: nn.Sequential(Net(), nn.Conv2d(1, 1, 1)), ["'Sequential'", "(1, 8, 8)"]),
    (nn.Linear, ["Linear", "lambda"]),
    (lambda: nn.Linear(4, 4), ["'Linear'", "OneOf"]),
    (7, ["7", "nn.Module"]),
]


@pytest.mark.parametrize(("model", "named"), BAD)
def test_bad_models_leave_nothing(tmp_path: Path, model: Any, named: list[str]) -> None:
    with pytest.raises(nd.UsageError) as error:
        nd.search(model, make_task(), out=tmp_path / "a", strategy="darts", **SMALL)
    one_sentence(str(error.value), *named)
    assert not (tmp_path / "a").exists()


def test_candidates_of_other_shapes_are_said_before_the_search(tmp_path: Path) -> None:
    def model() -> nn.Module:
        mix = nd.OneOf({"a": nn.Linear(64, 8), "b": nn.Linear(64, 1)}, "mix")
        return nn.Sequential(nn.Flatten(), mix, nn.LazyLinear(3))

    with pytest.raises(nd.UsageError) as error:
        nd.search(model, make_task(), out=tmp_path / "a", strategy="darts", **SMALL)
    one_sentence(str(error.value), "'mix'", "(2, 8)", "(2, 1)")
    assert not (tmp_path / "a").exists()


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    small = re.sub(r"epochs=\d+", "epochs=1", code)
    small = small.replace('out="', 'validate=False, quiet=True, out="')
    assert small.count("epochs=1") == 2 and "validate=False" in small
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "tutorial"}
    exec(compile(small, str(TUTORIAL), "exec"), names)
    assert set(names["run"].best.architecture) == {"mix", "norm", "act"}
    assert names["model"](torch.zeros(5, 1, 8, 8)).shape == (5, 10)
