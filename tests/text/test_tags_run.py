"""Whole runs of tagging: a tiny checkpoint and from scratch, exported and handed back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nas_domains as nd
from nas_domains.core.history import History
from nas_domains.core.task import IGNORED
from nas_domains.export.for_transformers import save_folder
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.export.predict import predict, usual_place
from nas_domains.nn.text_classifier import TextClassifier
from tests.core.refusal import refused
from tests.text import make
from tests.text.test_spaces import folder

OPTIONS = {
    "budget": "epochs=1,trials=4",
    "train_budget": "epochs=2",
    "randoms": 1,
    "quiet": True,
    "recipe": {"lr": 3e-3, "batch_size": 16},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.write_conll(tmp_path_factory.mktemp("tags") / "train.conll", 120)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> nd.Run:
    out = tmp_path_factory.mktemp("runs") / "a"
    space = f"transformer:checkpoint={folder()},tune=2,each=token"
    return nd.search(space, str(data), out=out, objectives=["f1", "params<=4200"], **OPTIONS)


def test_the_rows_of_the_result(run: nd.Run) -> None:
    result = run.result
    assert result["strategy"] == "ofa" and set(result["baselines"]) == {"full", "uniform"}
    assert set(result["best"]["metrics"]) >= {"f1", "accuracy", "params", "macs", "latency_ms"}
    assert result["best"]["metrics"]["params"] <= 4200
    test = nd.load_task(str(run.config["task"]), checkpoint=folder()).test
    record = History(run.path / "history.jsonl").find("test/winner/0", 0)
    assert record is not None
    # What was said of each word, beside the truth.
    said, right, words = record.detail["predicted"], 0, 0
    for i in range(len(test)):
        y = test[i][1]
        for place in range(len(y)):
            if y[place] != IGNORED:
                right, words = right + (said[i][place] == int(y[place])), words + 1
    assert right / words == pytest.approx(record.metrics["accuracy"])


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_exports_of_any_length(run: nd.Run, format: str, tmp_path: Path) -> None:
    path, difference = export(run.path, format, tmp_path / "model")
    assert path.is_file() and difference <= TOLERANCE
    if format == "onnx":
        import onnxruntime

        x = torch.tensor([[2, 6, 35, 7, 3], [2, 36, 3, 0, 0], [2, 8, 9, 3, 0]])
        with torch.no_grad():
            expected = nd.load(run.path)(x)
        (found,) = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})
        assert found.shape == (3, 3, 5)
        assert (torch.from_numpy(found) - expected).abs().max() < 1e-5


LOAD = """
import sys
import nas_domains
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer
for folder in sys.argv[1:]:
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(["w1 good w2", "bad"], padding=True,
        return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        found = model(**ids, labels=torch.zeros_like(ids["input_ids"]))
    assert found.loss.isfinite()
    print(found.logits[0].flatten().tolist(), type(model).__name__, model.config.id2label)
"""


def test_transformers_loads_what_is_handed_back(run: nd.Run, tmp_path: Path) -> None:
    """In another process that imports this package and nothing else of it."""
    _, difference = export(run.path, "transformers", tmp_path / "mine")
    assert difference <= TOLERANCE
    space = nd.load_space(f"transformer:checkpoint={folder()},each=token")
    choices = {"layer1.heads": 4, "layer1.width": 16, "layer2.heads": 0, "layer2.width": 0}
    torch.manual_seed(0)
    plain = space.build(space.architecture(choices), (6,), 3)
    assert isinstance(plain, TextClassifier)
    description = {"classes": ["B-Q", "I-Q", "O"], "preprocess": {"checkpoint": folder()}}
    save_folder(plain, description, tmp_path / "plain", TOLERANCE)
    folders = [str(tmp_path / "mine"), str(tmp_path / "plain")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *folders], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ids = torch.tensor([[2, 6, 35, 7, 3]])
    kinds = ["NasEncoderForTokenClassification", "BertForTokenClassification"]
    for line, network, kind in zip(
        done.stdout.splitlines(), (nd.load(run.path), plain.eval()), kinds, strict=True
    ):
        logits = json.loads(line[: line.index("]") + 1])
        with torch.no_grad():
            expected = network(ids).transpose(1, 2).flatten()
        assert (torch.tensor(logits) - expected).abs().max() < 1e-5
        assert f"{kind} {{0: 'B-Q', 1: 'I-Q', 2: 'O'}}" in line


def test_predictions_of_new_sentences(run: nd.Run, tmp_path: Path) -> None:
    words = [word for word in ("w1", "good", "bad") for _ in range(12)]
    (tmp_path / "new.conll").write_text("\n".join(words) + "\n\nfine\n")
    out = tmp_path / "p.jsonl"
    assert predict(run.path, str(tmp_path / "new.conll"), out, quiet=True) == 2
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["line"] for row in rows] == [1, 38]
    assert rows[0]["tokens"] == words and rows[1]["tokens"] == ["fine"]
    for row in rows:
        assert len(row["tags"]) == len(row["p"]) == len(row["tokens"])
        assert set(row["tags"]) <= {"B-Q", "I-Q", "O"} and all(1 / 3 <= p <= 1 for p in row["p"])
    # As the network says of a sentence alone.
    with torch.no_grad():
        scores = nd.load(run.path)(torch.tensor([[2, 37, 3]]))[0, :, 1].softmax(0)
    assert rows[1]["p"][0] == pytest.approx(float(scores.max()), abs=1e-5)
    assert usual_place(run.path) == Path("predictions.jsonl")
    with refused("gone.conll"):
        predict(run.path, str(tmp_path / "gone.conll"), out, quiet=True)
    data = tmp_path / "new.conll"
    with refused("new.conll"):
        predict(run.path, str(data), data / "p.jsonl", quiet=True)


@pytest.mark.parametrize(
    ("strategy", "budget"),
    [("ofa", "epochs=3,trials=4"), ("gdas", "epochs=1"), ("random", "trials=2,epochs=2")],
)
def test_networks_from_scratch_learn_tags(
    strategy: str, budget: str, data: Path, tmp_path: Path
) -> None:
    space = "text-heads:layers=1,heads=2,width=16,feeds=16,pool=none,vocabulary=100,dropout=0"
    options = {**OPTIONS, "budget": budget, "train_budget": "epochs=25"}
    run = nd.search(space, str(data), out=tmp_path / "r", strategy=strategy, **options)
    assert set(run.result["baselines"]) == {"softmax"}
    assert run.result["best"]["metrics"]["f1"] > 0.5
    assert predict(run.path, str(data), tmp_path / "p.jsonl", quiet=True) == 120
