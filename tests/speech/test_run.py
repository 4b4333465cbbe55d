"""A whole run on recordings: search by name of the folder, report, prediction, export, resume."""

import csv
from pathlib import Path

import pytest

import nas_domains as nd
from nas_domains.core.history import History
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.export.predict import predict
from tests.speech.make import write_folder

SPACE = "keyword:channels=8-12,strides=2-2,stem=8,depths=0-1,kernels=3-5"
LIMIT = 2000
OPTIONS = {"augment": "timeshift,pitch,specaugment", "bins": 16}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_folder(tmp_path_factory.mktemp("tones"), n=20))


def search(tones: Path, out: Path, strategy: str = "auto", **changes: object) -> nd.Run:
    options = {
        "objectives": ["accuracy", f"params<={LIMIT}"],
        "budget": "trials=3,epochs=2",
        "train_budget": "epochs=10",
        "randoms": 1,
        "recipe": {"batch_size": 8},
        "task_options": OPTIONS,
        **changes,
    }
    return nd.search(SPACE, str(tones), out=out, strategy=strategy, quiet=True, **options)


@pytest.fixture(scope="module")
def run(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> nd.Run:
    return search(tones, tmp_path_factory.mktemp("runs") / "a")


def test_the_elastic_supernet_is_searched_under_the_limit(run: nd.Run) -> None:
    assert run.result["strategy"] == "ofa" and set(run.result["baselines"]) == {"cnn"}
    space = nd.load_space(SPACE)
    records = [r for r in History(run.path / "history.jsonl") if r.architecture is not None]
    assert len(records) > 3
    for record in records:
        space.architecture(record.architecture)
        assert record.metrics.get("params", 0) <= LIMIT
    page = (run.path / "report.html").read_text()
    for name, option in run.result["best"]["architecture"].items():
        assert f"<td>{name}</td><td>{option}</td>" in page
    assert "padded with silence" in page


def test_the_same_seed_is_the_same_result(run: nd.Run, tones: Path, tmp_path: Path) -> None:
    again = search(tones, tmp_path / "b")
    ours, theirs = (list(History(r.path / "history.jsonl")) for r in (run, again))
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.stage, mine.step, mine.architecture) == (
            other.stage,
            other.step,
            other.architecture,
        )
        assert mine.metrics.get("loss") == other.metrics.get("loss")


def test_a_black_box_strategy_takes_it(tones: Path, tmp_path: Path) -> None:
    found = search(tones, tmp_path / "c", "evolution", train_budget="epochs=1", validate=False)
    assert found.result["best"]["metrics"]["params"] <= LIMIT


def test_the_loaded_network_predicts(run: nd.Run, tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    assert predict(run.path, str(tones), out, quiet=True) == 40
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["input"].startswith(row["class"]) for row in rows)
    assert right > 30, "the network has learnt what its run says"
    # Each share is written with six decimals.
    for row in rows:
        assert float(row["p:high"]) + float(row["p:low"]) == pytest.approx(1, abs=1.01e-6)


@pytest.mark.parametrize("format", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_the_network_is_exported(run: nd.Run, tmp_path: Path, format: str) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    path, difference = export(run.path, format, tmp_path / f"model.{format}")
    assert path.stat().st_size > 0 and difference <= TOLERANCE
