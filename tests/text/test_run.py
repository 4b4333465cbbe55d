"""A whole run on a tiny checkpoint: prepared, searched, compared, resumed, handed back."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nas_domains as nd
from nas_domains.core.history import History
from nas_domains.evaluation import pretrained
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.export.predict import predict
from nas_domains.nn.text_classifier import TextClassifier
from tests.core.refusal import refused
from tests.make import stripped
from tests.text import make
from tests.text.test_spaces import folder

LIMIT = 4200


def search(data: Path, out: Path, **options: object) -> nd.Run:
    given = {
        "objectives": ["accuracy", f"params<={LIMIT}"],
        "budget": "epochs=1,trials=6",
        "train_budget": "epochs=2",
        "randoms": 1,
        "quiet": True,
        "recipe": {"lr": 3e-3, "batch_size": 16},
    }
    space = f"transformer:checkpoint={folder()},tune=2"
    return nd.search(space, str(data), out=out, **{**given, **options})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.write_tsv(tmp_path_factory.mktemp("texts") / "train.tsv", 120)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> nd.Run:
    return search(data, tmp_path_factory.mktemp("runs") / "a")


def test_the_rows_of_the_result(run: nd.Run) -> None:
    result = run.result
    assert result["strategy"] == "ofa" and set(result["baselines"]) == {"full", "uniform"}
    best = result["best"]["metrics"]
    assert set(best) >= {"accuracy", "f1", "matthews", "params", "macs", "latency_ms"}
    assert best["params"] <= LIMIT < result["baselines"]["full"]["params"]
    assert best["macs"] < result["baselines"]["full"]["macs"]
    assert result["limits_kept"] == {f"params<={LIMIT}": True}
    assert result["prepare_seconds"] > 0
    history = History(run.path / "history.jsonl")
    assert [r.step for r in history.of("prepare/full")] == [1, 2]
    test = nd.load_task(str(run.config["task"]), checkpoint=folder()).test
    for row in ("winner", "random/0", "full", "uniform"):
        record = history.find(f"test/{row}/0", 0)
        assert record is not None
        right = [p == int(test[i][1]) for i, p in enumerate(record.detail["predicted"])]
        assert sum(right) / len(right) == pytest.approx(record.metrics["accuracy"])


def test_a_killed_run_ends_in_the_same_result(
    run: nd.Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between fine-tuning and ordering, and again behind the first trained row."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretrained, "put_in_order", stop)
        with pytest.raises(KeyboardInterrupt):
            search(data, tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr("nas_domains.evaluation.compare.save_network", stop)
        with pytest.raises(KeyboardInterrupt):
            nd.resume(tmp_path / "b", quiet=True)
    again = nd.resume(tmp_path / "b", quiet=True)
    assert stripped(again.result) == stripped(run.result)


def test_weights_start_from_the_whole_network(run: nd.Run, data: Path) -> None:
    """A prepared space builds parts of the fine-tuned network, which classifies by itself."""
    history = History(run.path / "history.jsonl")
    tuned = history.of("prepare/full")[-1].metrics["loss"]
    space = nd.load_space(f"transformer:checkpoint={folder()},tune=2")
    network = space.build(space.largest(), (6,), 2)
    prepared = pretrained.files.load(run.path / "checkpoints" / "prepared.safetensors")
    network.load_state_dict(prepared)
    task = nd.load_task(str(data), checkpoint=folder())
    x, y = task.val.batch(range(len(task.val)))
    with torch.no_grad():
        loss = float(task.loss(network.eval()(x), y))
    losses = [r.metrics["loss"] for r in history.of("prepare/full")]
    assert min(abs(loss - other) for other in losses) < 1e-4 and tuned in losses


def test_calibration_alone_trains_no_shared_weights(data: Path, tmp_path: Path) -> None:
    found = search(
        data, tmp_path / "c", strategy="calibrate", budget="trials=4", validate=False
    )
    assert found.config["plan"]["search"] == {"steps": 0, "trials": 4}
    history = History(found.path / "history.jsonl")
    assert len(history.of("search")) == 4 and not history.of("search/supernet")


def test_black_box_strategies_train_parts(data: Path, tmp_path: Path) -> None:
    found = search(
        data, tmp_path / "d", strategy="random", budget="trials=2,epochs=1", validate=False
    )
    assert len(History(found.path / "history.jsonl").of("search")) == 2
    with refused("--workers", "transformer"):
        search(data, tmp_path / "e", strategy="random", workers=2)
    assert not (tmp_path / "e").exists()


def test_calibration_needs_pretrained_weights(tmp_path: Path) -> None:
    with refused("calibrate", "mobilenet", "ofa"):
        nd.search("mobilenet", "digits", out=tmp_path / "f", strategy="calibrate", quiet=True)


def texts() -> torch.Tensor:
    return torch.tensor([[2, 6, 35, 7, 3], [2, 36, 3, 0, 0], [2, 8, 9, 3, 0]])


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_exports_of_any_length(run: nd.Run, format: str, tmp_path: Path) -> None:
    path, difference = export(run.path, format, tmp_path / "model")
    assert path.is_file() and difference <= TOLERANCE
    network = nd.load(run.path)
    with torch.no_grad():
        expected = network(texts())
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        (found,) = session.run(None, {"x": texts().numpy()})
        assert (torch.from_numpy(found) - expected).abs().max() < 1e-5


LOAD = """
import sys
import nas_domains
assert "torch" not in sys.modules and "transformers" not in sys.modules
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer
for folder in sys.argv[1:]:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(["w1 good w2", "bad"], padding=True,
        return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()(**ids).last_hidden_state
        print(model(**ids).logits.flatten().tolist(), list(states.shape), type(model).__name__,
              model.config.id2label)
"""


def test_transformers_loads_what_is_handed_back(run: nd.Run, tmp_path: Path) -> None:
    """In another process that imports this package and nothing else of it."""
    path, difference = export(run.path, "transformers", tmp_path / "mine")
    assert difference <= TOLERANCE
    space = nd.load_space(f"transformer:checkpoint={folder()}")
    # All heads and one width, one layer: an ordinary model of its family can say that.
    choices = {"layer1.heads": 4, "layer1.width": 16, "layer2.heads": 0, "layer2.width": 0}
    torch.manual_seed(0)
    plain = space.build(space.architecture(choices), (6,), 2)
    assert isinstance(plain, TextClassifier)
    description = {"classes": ["no", "yes"], "preprocess": {"checkpoint": folder()}}
    from nas_domains.export.for_transformers import save_folder

    save_folder(plain, description, tmp_path / "plain", TOLERANCE)
    folders = [str(tmp_path / "mine"), str(tmp_path / "plain")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *folders], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ids = torch.tensor([[2, 6, 35, 7, 3], [2, 36, 3, 0, 0]])
    kinds = ["NasEncoderForSequenceClassification", "BertForSequenceClassification"]
    for line, network, kind in zip(
        done.stdout.splitlines(), (nd.load(run.path), plain.eval()), kinds, strict=True
    ):
        logits = json.loads(line[: line.index("]") + 1])
        with torch.no_grad():
            expected = network(ids).flatten()
        assert (torch.tensor(logits) - expected).abs().max() < 1e-5
        assert f"[2, 5, 16] {kind} {{0: 'no', 1: 'yes'}}" in line
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    best = run.result["best"]["architecture"]
    assert config["layer_heads"] == [best["layer1.heads"], best["layer2.heads"]]
    with refused("mine"):
        export(run.path, "transformers", tmp_path / "mine")


def test_the_report_shows_the_heads_that_are_kept(run: nd.Run) -> None:
    page = (run.path / "report.html").read_text()
    best = run.result["best"]["architecture"]
    heads = ", ".join(str(best[f"layer{i}.heads"]) for i in (1, 2))
    assert f"Heads kept in each layer: {heads};" in page
    drawn = page[page.index('class="heads"') :]
    kept = drawn[: drawn.index("</svg>")].count('class="conv-1"')
    assert kept == best["layer1.heads"] + best["layer2.heads"]
    order = History(run.path / "history.jsonl").find("prepare/order", 0)
    assert order is not None
    for scores in order.detail["importance"].values():
        assert len(scores) == 4 and scores == sorted(scores, reverse=True) and scores[0] > 0


def test_predictions_of_new_texts(run: nd.Run, tmp_path: Path) -> None:
    (tmp_path / "new.tsv").write_text("text\nw1 good\nbad w2 w3\n")
    assert predict(run.path, str(tmp_path / "new.tsv"), tmp_path / "p.csv", quiet=True) == 2
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["input"] for row in rows] == ["line 2", "line 3"]
    assert set(rows[0]) == {"input", "class", "p:no", "p:yes"}


def test_a_checkpoint_that_is_gone_is_said(run: nd.Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "g")
    file = tmp_path / "g" / "best" / "network.json"
    file.write_text(file.read_text().replace(folder(), str(tmp_path / "gone")))
    with refused("gone", "config.json"):
        nd.load(tmp_path / "g")
