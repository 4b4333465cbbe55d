"""A whole run on the parts of a pretrained encoder of samples."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nas_domains as nd
from nas_domains.core.history import History
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.export.predict import predict
from tests.core.refusal import refused
from tests.speech.make import write_folder
from tests.speech.test_spaces import folder

LIMIT = 6000


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_folder(tmp_path_factory.mktemp("tones"), n=12))


@pytest.fixture(scope="module")
def run(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> nd.Run:
    return nd.search(
        f"speech-transformer:checkpoint={folder()},heads=0-0.5-1,widths=0-0.5-1",
        str(tones),
        out=tmp_path_factory.mktemp("runs") / "a",
        objectives=["accuracy", f"params<={LIMIT}"],
        budget="trials=3,epochs=1",
        train_budget="epochs=2",
        randoms=1,
        quiet=True,
    )


def test_the_winner_keeps_the_limit_and_is_compared_with_the_whole(run: nd.Run) -> None:
    assert run.result["strategy"] == "ofa"
    assert run.result["best"]["metrics"]["params"] <= LIMIT
    assert set(run.result["baselines"]) == {"full", "uniform"}
    assert History(run.path / "history.jsonl").find("prepare/order", 0) is not None


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_the_network_is_exported(run: nd.Run, tmp_path: Path, format: str) -> None:
    assert export(run.path, format, tmp_path / "n")[1] <= TOLERANCE


LOAD = """
import sys
import nas_domains
assert "torch" not in sys.modules and "transformers" not in sys.modules
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification
x = torch.linspace(-1, 1, 2400)[None].sin()
model = AutoModelForAudioClassification.from_pretrained(sys.argv[1]).eval()
heard = AutoFeatureExtractor.from_pretrained(sys.argv[1])
with torch.no_grad():
    states = AutoModel.from_pretrained(sys.argv[1]).eval()(x).last_hidden_state
    print(model(x).logits.flatten().tolist(), list(states.shape), heard.sampling_rate,
          model.config.id2label)
"""


def test_transformers_loads_what_is_handed_back(run: nd.Run, tmp_path: Path) -> None:
    path, difference = export(run.path, "transformers", tmp_path / "mine")
    assert difference <= TOLERANCE
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    logits = torch.tensor(json.loads(done.stdout[: done.stdout.index("]") + 1]))
    with torch.no_grad():
        expected = nd.load(run.path)(torch.linspace(-1, 1, 2400)[None].sin()).flatten()
    assert (logits - expected).abs().max() < 1e-5
    assert "[1, 14, 16] 8000 {0: 'high', 1: 'low'}" in done.stdout


def test_predictions_of_new_recordings(run: nd.Run, tones: Path, tmp_path: Path) -> None:
    assert predict(run.path, str(tones / "high"), tmp_path / "p.csv", quiet=True) == 12
    with (tmp_path / "p.csv").open(newline="") as file:
        assert set(next(csv.DictReader(file))) == {"input", "class", "p:high", "p:low"}


def test_other_inputs_are_refused(tones: Path, tmp_path: Path) -> None:
    with refused("form=wave"):
        nd.search(
            f"speech-transformer:checkpoint={folder()}", nd.load_task(str(tones)),
            out=tmp_path / "b", quiet=True,
        )  # fmt: skip
    with refused("rate=8000"):
        nd.search(
            f"speech-transformer:checkpoint={folder()}",
            nd.load_task(str(tones), form="wave", rate=4000),
            out=tmp_path / "c", quiet=True,
        )  # fmt: skip
    with refused("form"):
        nd.load_task(str(tones), form="mp3")
    with refused("augment"):
        nd.load_task(str(tones), form="wave", augment="specaugment")
