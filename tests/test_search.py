"""The whole: search, compare, resume, repeat; on small tasks made here."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nas_domains as nd
from nas_domains.core.history import History
from nas_domains.evaluation.rank import kendall_tau
from tests.make import (
    RoomyCells,
    Widths,
    images,
    make_task,
    one_sentence,
    stopped_after,
    stripped,
)

SMALL: dict[str, Any] = {
    "strategy": "darts",
    "budget": "epochs=2",
    "train_budget": "epochs=2",
    "seed": 3,
    "quiet": True,
}
SPACE = "nasbench201:cells=1,channels=4"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> nd.Run:
    return nd.search(SPACE, make_task(), out=tmp_path_factory.mktemp("runs") / "a", **SMALL)


def test_a_run_holds_what_the_design_says(finished: nd.Run) -> None:
    for name in ("config.yaml", "environment.json", "history.jsonl", "result.json", "report.html"):
        assert (finished.path / name).stat().st_size > 0
    result = finished.result
    assert result["plan"] == {"batch_size": 12, "search": {"steps": 4}, "train": {"epochs": 2}}
    space = nd.load_space(SPACE)
    winner = space.architecture(result["best"]["architecture"])
    assert result["best"]["arch_str"] == space.arch_str(winner)
    assert {"params", "macs", "latency_ms", "accuracy", "auc"} <= set(result["best"]["metrics"])
    assert result["random_baseline"]["n"] == 3
    assert list(result["baselines"]) == ["resnet18-quarter"]
    assert result["search_seconds"] > 0 and result["train_seconds"] > 0
    assert result["pareto"]


def test_every_row_is_trained_alike_and_tested_once(finished: nd.Run) -> None:
    rows = ("winner", "random/0", "random/1", "random/2", "resnet18-quarter")
    tests = [r for r in History(finished.path / "history.jsonl") if r.stage.startswith("test/")]
    assert {r.stage for r in tests} == {f"test/{row}/0" for row in rows}
    for row in rows:
        assert [r.step for r in finished.history.of(f"train/{row}/0")] == [1, 2]


def test_the_comparison_is_that_of_its_rows(finished: nd.Run) -> None:
    baseline = finished.result["random_baseline"]
    accuracies = torch.tensor([m["accuracy"] for m in baseline["metrics"]], dtype=torch.float64)
    assert baseline["mean"] == pytest.approx(float(accuracies.mean()))
    assert baseline["std"] == pytest.approx(float(accuracies.std()))
    gain = baseline["winner_beats_mean_by"]
    winner = finished.best.metrics["accuracy"]
    assert gain["difference"] == pytest.approx(winner - baseline["mean"])
    assert gain["standard_error"] == pytest.approx(baseline["std"] * (1 / 3 + 1) ** 0.5)


def test_the_loaded_network_scores_what_the_result_says(finished: nd.Run) -> None:
    network = nd.load(finished.path)
    assert not network.training
    x, y = images(24, 2).tensors
    with torch.no_grad():
        accuracy = (network(x).argmax(1) == y).double().mean()
    assert float(accuracy) == pytest.approx(finished.best.metrics["accuracy"])


def test_the_same_seed_and_plan_give_the_same_bits(finished: nd.Run, tmp_path: Path) -> None:
    options = {k: v for k, v in SMALL.items() if not k.endswith("budget")}
    again = nd.search(SPACE, make_task(), out=tmp_path / "b", plan=finished.path, **options)
    assert stripped(again.result) == stripped(finished.result)
    for a, b in zip(
        nd.load(finished.path).parameters(), nd.load(again.path).parameters(), strict=True
    ):
        assert torch.equal(a, b)


def test_another_seed_gives_another_run(finished: nd.Run, tmp_path: Path) -> None:
    other = nd.search(SPACE, make_task(), out=tmp_path / "b", **(SMALL | {"seed": 4}))
    assert stripped(other.result) != stripped(finished.result)


@pytest.mark.parametrize("steps", [1, 3, 5, 9, 30])
def test_an_interrupted_run_ends_in_the_same_result(
    finished: nd.Run, tmp_path: Path, steps: int
) -> None:
    """Stopped after a number of checkpoints, each of which is of a single step."""
    with stopped_after(steps):
        nd.search(SPACE, make_task(), out=tmp_path / "b", **SMALL)
    with pytest.raises(nd.UsageError) as error:
        nd.search(SPACE, make_task(), out=tmp_path / "b", **SMALL)
    one_sentence(str(error.value), str(tmp_path / "b"), "resume")
    run = nd.resume(tmp_path / "b", task=make_task(), quiet=True)
    assert stripped(run.result) == stripped(finished.result)


def test_resuming_a_finished_run_changes_nothing(finished: nd.Run) -> None:
    before = (finished.path / "result.json").read_bytes()
    assert nd.resume(finished.path).result == finished.result
    assert (finished.path / "result.json").read_bytes() == before


def test_a_one_shot_run_says_how_well_shared_weights_rank(tmp_path: Path) -> None:
    run = nd.search(
        SPACE,
        make_task(),
        out=tmp_path / "a",
        **{**SMALL, "strategy": "spos", "budget": "epochs=1,trials=2", "randoms": 9},
    )
    records = run.history.of("rank")
    baseline, found = run.result["random_baseline"], run.result["shared_weights_rank"]
    assert [r.step for r in records] == list(range(9)) and found["n"] == 10
    scores = [run.result["best"]["search_metrics"], *(r.metrics for r in records)]
    truth = [run.result["best"]["metrics"], *baseline["metrics"]]
    for i, record in enumerate(records):
        (tested,) = run.history.of(f"test/random/{i}/0")
        assert tested.architecture == record.architecture
    tau = kendall_tau([m["accuracy"] for m in scores], [m["accuracy"] for m in truth])
    assert found["kendall_tau"] == pytest.approx(tau) or found["kendall_tau"] is None
    assert "top_tau" in found
    gain = truth[0]["accuracy"] / baseline["mean"] - 1
    assert baseline["relative_gain"] == pytest.approx(gain)
    assert "shared weights" in (run.path / "report.html").read_text()


def test_another_space_or_other_data_is_not_resumed(finished: nd.Run, tmp_path: Path) -> None:
    with stopped_after(1):
        nd.search(SPACE, make_task(), out=tmp_path / "b", **SMALL)
    with pytest.raises(nd.UsageError) as error:
        nd.resume(tmp_path / "b", space=Widths(), task=make_task())
    one_sentence(str(error.value), str(tmp_path / "b"), "another space")
    with pytest.raises(nd.UsageError) as error:
        nd.resume(tmp_path / "b", task=make_task(60))
    one_sentence(str(error.value), "bars", "data")


@pytest.mark.parametrize(
    ("strategy", "space", "budget"),
    [("random", Widths, "trials=2,epochs=1"), ("darts", RoomyCells, "epochs=2")],
)
def test_the_batch_is_halved_where_memory_is_short(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    strategy: str,
    space: Callable[..., nd.SearchSpace],
    budget: str,
) -> None:
    options: dict[str, Any] = {
        "strategy": strategy,
        "budget": budget,
        "train_budget": "epochs=1",
        "randoms": 1,
    }
    run = nd.search(space(room=5), make_task(), out=tmp_path / "a", **options)
    assert run.result["plan"]["batch_size"] == 3
    assert "the batch is halved to 6" in capfd.readouterr().err
    # What is left is the run that asked for that batch.
    whole = nd.search(
        space(), make_task(), out=tmp_path / "b", recipe={"batch_size": 3}, quiet=True, **options
    )
    assert stripped(whole.result) == stripped(run.result)


def test_no_room_for_a_single_sample_is_said(tmp_path: Path) -> None:
    with pytest.raises(nd.UsageError) as error:
        nd.search(
            Widths(room=0),
            make_task(),
            out=tmp_path / "a",
            **SMALL | {"strategy": "random", "budget": "trials=1"},
        )
    one_sentence(str(error.value), "batch of 1", "--space")
    assert not (tmp_path / "a").exists()


def test_a_kill_before_the_report_is_mended(finished: nd.Run, tmp_path: Path) -> None:
    copy = tmp_path / "a"
    shutil.copytree(finished.path, copy)
    (copy / "report.html").unlink()
    nd.resume(copy)
    assert (copy / "report.html").is_file()


def test_numpy_values_are_options_too(tmp_path: Path) -> None:
    run = nd.search(
        SPACE,
        make_task(),
        out=tmp_path / "a",
        validate=False,
        **SMALL | {"seed": np.int64(3)},
        recipe={"lr": np.float32(0.1), "batch_size": np.int64(12)},
    )
    assert nd.Run.open(run.path).config["seed"] == 3


def test_a_run_resumes_with_the_recipe_that_it_began_with(
    finished: nd.Run, tmp_path: Path
) -> None:
    with stopped_after(1):
        nd.search(SPACE, make_task(), out=tmp_path / "b", **SMALL)
    run = nd.resume(tmp_path / "b", task=make_task().with_recipe(lr=0.3), quiet=True)
    assert stripped(run.result) == stripped(finished.result)


def test_bundled_data_is_not_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    options = SMALL | {"budget": "steps=2", "train_budget": "epochs=1", "validate": False}
    with stopped_after(1):
        nd.search(SPACE, "digits", out="digits/a", **options)
    assert nd.Run.open("digits/a").config["task"] == "digits"
    assert nd.resume("digits/a", quiet=True).finished


def test_without_validation_there_is_a_network_and_no_baseline(tmp_path: Path) -> None:
    run = nd.search(SPACE, make_task(), out=tmp_path / "a", validate=False, **SMALL)
    assert run.result["random_baseline"] is None and run.result["baselines"] is None
    assert nd.load(run.path)(torch.zeros(1, 1, 8, 8)).shape == (1, 3)


def test_several_seeds_give_the_winner_a_spread(tmp_path: Path) -> None:
    run = nd.search(SPACE, make_task(), out=tmp_path / "a", train_seeds=2, randoms=2, **SMALL)
    values = [run.history.find(f"test/winner/{s}", 0).metrics["accuracy"] for s in range(2)]
    assert run.best.metrics["accuracy"] == pytest.approx(sum(values) / 2)


class Counted(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """A test split that counts how often it is scored whole."""

    def __init__(self) -> None:
        self.data, self.reads = images(24, 2), 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.data[index]

    def batch(self, indices: list[int]) -> Any:
        self.reads += len(indices)
        x, y = self.data.tensors
        return x[indices], y[indices]


def test_the_test_split_is_scored_once_a_row(tmp_path: Path) -> None:
    test = Counted()
    task = nd.Task.from_datasets(images(48, 0), images(24, 1), test)
    nd.search(SPACE, task.with_recipe(batch_size=12), out=tmp_path / "a", randoms=1, **SMALL)
    assert test.reads == 3 * 24


BAD: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"space": "darst"}, ("darst", "darts")),
    ({"space": "darts:cells=0"}, ("cells",)),
    ({"space": "darts:cells"}, ("cells",)),
    ({"space": "darts:depth=3"}, ("depth", "cells")),
    ({"strategy": "dart"}, ("dart", "random")),
    ({"objectives": ["accurcy"]}, ("accurcy", "accuracy")),
    ({"objectives": ["params>=3"]}, ("params<=3",)),
    ({"objectives": ["params<=x"]}, ("x",)),
    ({"objectives": ["accuracy", "accuracy"]}, ("accuracy",)),
    ({"objectives": ["latency_ms"]}, ("darts", "latency_ms")),
    ({"budget": "soon"}, ("soon",)),
    ({"budget": "0m"}, ("0m",)),
    ({"budget": "trials=5"}, ("trials=5",)),
    ({"budget": "epochs=5,steps=9"}, ("epochs=5,steps=9",)),
    ({"objectives": ["params"]}, ("darts", "params")),
    ({"train_budget": "steps=5"}, ("steps=5",)),
    ({"device": "tpu"}, ("tpu",)),
    ({"precision": "int8"}, ("int8",)),
    ({"randoms": 0}, ("--randoms",)),
    ({"workers": 0}, ("--workers 0",)),
    ({"workers": 2}, ("--workers", "darts")),
    ({"storage": "nowhere"}, ("nowhere", "--storage")),
    ({"priors": ["nowhere"]}, ("nowhere",)),
    ({"plan": "nowhere"}, ("--plan",)),
    ({"plan": "nowhere", "budget": None, "train_budget": None}, ("nowhere",)),
    ({"recipe": {"lr": -1}}, ("lr=-1",)),
    ({"recipe": {"speed": 1}}, ("speed",)),
    ({"recipe": {"batch_size": "big"}}, ("batch_size",)),
    ({"domain": "vision"}, ("domain",)),
    ({"task": "nowhere.npz"}, ("nowhere.npz",)),
    ({"task": "digitz"}, ("digitz", "digits")),
    ({"task": "digits", "domain": "smell"}, ("smell", "vision")),
    ({"task": "digits", "task_options": {"augment": "spin"}}, ("spin",)),
]


@pytest.mark.parametrize(("change", "named"), BAD, ids=[str(list(c.items())[0]) for c, _ in BAD])
def test_bad_options_are_one_sentence_and_leave_nothing(
    tmp_path: Path, change: dict[str, Any], named: tuple[str, ...]
) -> None:
    arguments = {"space": SPACE, "task": make_task(), **SMALL} | change
    with pytest.raises(nd.UsageError) as error:
        nd.search(out=tmp_path / "a", **arguments)
    one_sentence(str(error.value), *named)
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_is_refused_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(nd.UsageError) as error:
        nd.search(SPACE, make_task(), out=tmp_path / "a", **SMALL, device="cuda")
    one_sentence(str(error.value), "CUDA")


def test_nan_inputs_of_a_persons_own_data_are_named(tmp_path: Path) -> None:
    data = images(48, 0)
    data.tensors[0][5, 0, 0, 0] = float("nan")
    task = nd.Task.from_datasets(data, images(24, 1), images(24, 2), name="broken")
    with pytest.raises(nd.UsageError) as error:
        nd.search(SPACE, task, out=tmp_path / "a", **SMALL)
    one_sentence(str(error.value), "broken", "NaN")
    assert not (tmp_path / "a").exists()


def test_labels_out_of_range_are_named(tmp_path: Path) -> None:
    test = images(24, 2)
    test.tensors[1][3] = 7
    task = nd.Task.from_datasets(images(48, 0), images(24, 1), test, name="odd")
    with pytest.raises(nd.UsageError) as error:
        nd.search(SPACE, task, out=tmp_path / "a", **SMALL)
    one_sentence(str(error.value), "odd", "7")


def test_a_damaged_run_is_named(finished: nd.Run, tmp_path: Path) -> None:
    for name, text in (("config.yaml", "["), ("config.yaml", "a: 1"), ("result.json", "{")):
        copy = tmp_path / f"{name}{len(text)}"
        shutil.copytree(finished.path, copy)
        (copy / name).write_text(text)
        with pytest.raises(nd.UsageError) as error:
            _ = nd.Run.open(copy).result
        one_sentence(str(error.value), str(copy / name))
    copy = tmp_path / "weights"
    shutil.copytree(finished.path, copy)
    (copy / "best" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(nd.UsageError) as error:
        nd.load(copy)
    one_sentence(str(error.value), "model.safetensors")


def test_result_json_is_plain_json(finished: nd.Run) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = (finished.path / "result.json").read_text()
    json.loads(text, parse_constant=refuse)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_search_runs_on_cuda(tmp_path: Path, precision: str) -> None:
    run = nd.search(
        SPACE, make_task(), out=tmp_path / "a", device="cuda", precision=precision, **SMALL
    )
    assert run.best.metrics["accuracy"] is not None
