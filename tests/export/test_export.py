"""Load, predict and export, from a run on real image files."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import nas_domains as nd
from nas_domains.core.registry import tasks
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.export.predict import predict
from tests.make import make_task, one_sentence


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 10x12 pictures: light above, light below."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label in ("above", "below"):
        (root / label).mkdir()
        for i in range(24):
            pixels = rng.integers(0, 100, (10, 12, 3))
            pixels[:5] += 120 * (label == "above")
            pixels[5:] += 120 * (label == "below")
            Image.fromarray(pixels.astype(np.uint8)).save(root / label / f"{i:02}.png")
    return root


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> nd.Run:
    return nd.search(
        "darts:cells=2,channels=4",
        str(pictures),
        out=tmp_path_factory.mktemp("runs") / "a",
        strategy="darts",
        budget="steps=1",
        train_budget="epochs=20",
        validate=False,
        quiet=True,
        recipe={"batch_size": 8},
    )


def test_predictions_are_those_of_the_network(run: nd.Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "p.csv"
    assert predict(run.path, str(pictures), out, quiet=True) == 48
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["input", "class", "p:above", "p:below"]
    task = nd.load_task(str(pictures))
    loader = tasks.load("folder")
    names, split = loader.inputs(str(pictures), task.preprocess)
    with torch.no_grad():
        x = torch.stack([split[i][0] for i in range(48)])
        shares = torch.softmax(nd.load(run.path)(x), 1)
    for name, row, share in zip(names, rows, shares.tolist(), strict=True):
        assert row["input"] == name
        assert float(row["p:above"]) == pytest.approx(share[0], abs=1e-5)
        assert row["class"] == ("above" if share[0] >= share[1] else "below")
    right = sum(Path(row["input"]).parts[-2] == row["class"] for row in rows)
    assert right > 36


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_an_export_equals_pytorch_for_any_batch(run: nd.Run, tmp_path: Path, format: str) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime", reason="the [export] extra is not installed")
    path, difference = export(run.path, format, tmp_path / "model")
    assert difference <= TOLERANCE
    x = torch.randn(5, 3, 10, 12)
    with torch.no_grad():
        expected = nd.load(run.path)(x)
    if format == "onnx":
        import onnx
        import onnxruntime

        (found,) = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})
        (entry,) = onnx.load(path).metadata_props
        metadata = json.loads(entry.value)
    else:
        extra = {"nas_domains": ""}
        found = torch.export.load(path, extra_files=extra).module()(x).detach().numpy()
        metadata = json.loads(extra["nas_domains"])
    torch.testing.assert_close(torch.from_numpy(np.asarray(found)), expected, atol=1e-4, rtol=1e-4)
    assert metadata["classes"] == ["above", "below"]
    assert metadata["preprocess"]["channels"] == 3


def test_a_weight_that_is_not_finite_is_never_exported(run: nd.Run, tmp_path: Path) -> None:
    copy = tmp_path / "a"
    shutil.copytree(run.path, copy)
    weights = copy / "best" / "model.safetensors"
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(weights)
    name = next(n for n, t in tensors.items() if t.dim() == 4)
    tensors[name] = tensors[name] * torch.nan
    save_file(tensors, weights, metadata=metadata)
    with pytest.raises(nd.UsageError) as error:
        export(copy, "torch", tmp_path / "m.pt2")
    one_sentence(str(error.value), "torch", "differs")
    assert not list(tmp_path.glob("*.pt2")) and not list(tmp_path.glob(".*"))


def test_bad_requests_are_one_sentence(run: nd.Run, tmp_path: Path) -> None:
    with pytest.raises(nd.UsageError) as error:
        export(run.path, "tflite")
    one_sentence(str(error.value), "tflite", "onnx")
    for call in (
        lambda: nd.load(tmp_path),
        lambda: export(tmp_path, "torch"),
        lambda: predict(tmp_path, "x", tmp_path / "o.csv"),
    ):
        with pytest.raises(nd.UsageError) as error:
            call()
        one_sentence(str(error.value), str(tmp_path), "no run")
    with pytest.raises(nd.UsageError) as error:
        predict(run.path, str(tmp_path / "none"), tmp_path / "o.csv")
    one_sentence(str(error.value), str(tmp_path / "none"))
    assert not (tmp_path / "o.csv").exists()


def test_a_task_made_in_python_is_not_read_from_files(tmp_path: Path) -> None:
    made = nd.search(
        "nasbench201:cells=1,channels=4",
        make_task(),
        out=tmp_path / "a",
        strategy="darts",
        budget="steps=1",
        train_budget="epochs=1",
        validate=False,
        quiet=True,
    )
    with pytest.raises(nd.UsageError) as error:
        predict(made.path, str(tmp_path), tmp_path / "o.csv")
    one_sentence(str(error.value), "nas_domains.load")


def test_a_name_that_is_no_utf8_is_written_nevertheless(run: nd.Run, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    name = os.fsencode(str(folder)) + b"/M\xfcller.png"
    try:
        with open(name, "wb") as file:
            Image.new("L", (8, 8), 100).save(file, "PNG")
    except OSError:
        pytest.skip("this file system has names of UTF-8 only")
    assert predict(run.path, str(folder), tmp_path / "p.csv", quiet=True) == 1
    assert "M\ufffdller.png" in (tmp_path / "p.csv").read_text(encoding="utf-8")
