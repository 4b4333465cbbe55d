"""A whole run on ``mobilenet``: search, report, prediction, export."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nas_domains as nd
from nas_domains.core.history import History
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.export.predict import predict
from nas_domains.nn.elastic.base import Elastic
from tests.core.refusal import refused

SPACE = "mobilenet:channels=8-12,strides=1-2,stem=8,stem_stride=1,head=16,depths=1-2"
LIMIT = 12000


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 10x12 pictures: light above, light below."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label in ("above", "below"):
        (root / label).mkdir()
        for i in range(15):
            pixels = rng.integers(0, 100, (10, 12, 3))
            pixels[:5] += 120 * (label == "above")
            pixels[5:] += 120 * (label == "below")
            Image.fromarray(pixels.astype(np.uint8)).save(root / label / f"{i:02}.png")
    return root


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> nd.Run:
    return nd.search(
        SPACE,
        str(pictures),
        out=tmp_path_factory.mktemp("runs") / "a",
        objectives=["accuracy", f"params<={LIMIT}"],
        budget="trials=3,epochs=1",
        train_budget="epochs=8",
        randoms=1,
        quiet=True,
        recipe={"batch_size": 8},
    )


def test_auto_takes_no_gradient_strategy(run: nd.Run) -> None:
    assert run.result["strategy"] == "ofa"


@pytest.mark.parametrize("strategy", ["darts", "darts-2nd"])
def test_gradient_strategies_are_refused_before_anything_is_written(
    strategy: str, pictures: Path, tmp_path: Path
) -> None:
    with refused(strategy, "mobilenet", "--strategy ofa"):
        nd.search(SPACE, str(pictures), out=tmp_path / "b", strategy=strategy, quiet=True)
    assert not (tmp_path / "b").exists()


def test_every_architecture_keeps_the_limit(run: nd.Run) -> None:
    space = nd.load_space(SPACE)
    records = [r for r in History(run.path / "history.jsonl") if r.architecture is not None]
    assert len(records) > 3
    for record in records:
        space.architecture(record.architecture)
        assert record.metrics.get("params", 0) <= LIMIT


def test_the_report_lists_the_choices_where_it_has_no_cells_to_draw(run: nd.Run) -> None:
    page = (run.path / "report.html").read_text()
    for name, option in run.result["best"]["architecture"].items():
        assert f"<td>{name}</td><td>{option}</td>" in page
    assert "How the architecture weights moved" not in page


def test_the_loaded_network_predicts(
    run: nd.Run, pictures: Path, tmp_path: Path
) -> None:
    network = nd.load(run.path)
    assert not any(isinstance(m, Elastic) for m in network.modules())
    out = tmp_path / "p.csv"
    assert predict(run.path, str(pictures), out, quiet=True) == 30
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    shares = torch.tensor([[float(row["p:above"]), float(row["p:below"])] for row in rows])
    # Each share is written with six decimals.
    assert (shares.sum(1) - 1).abs().max() <= 1e-6
    right = sum(row["class"] in row["input"] for row in rows)
    assert right > 20, "the network has learnt what its run says"


@pytest.mark.parametrize("format", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_the_network_is_exported(run: nd.Run, tmp_path: Path, format: str) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    path, difference = export(run.path, format, tmp_path / f"model.{format}")
    assert path.stat().st_size > 0 and difference <= TOLERANCE
