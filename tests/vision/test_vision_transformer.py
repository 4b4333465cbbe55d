"""Parts of a pretrained ViT or DeiT: the contracts, what it sees, and a whole run."""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nas_domains as nd
from nas_domains.core.task import load_task
from nas_domains.export.for_transformers import save_folder
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.export.predict import predict
from nas_domains.testing.supernets import SupernetContract
from nas_domains.vision.checkpoint import open_image_checkpoint
from nas_domains.vision.encoders import vision_transformer
from nas_domains.vision.export import processor
from tests.core.refusal import refused

HOME = os.environ.setdefault("NAS_DOMAINS_TEST_IMAGES", tempfile.mkdtemp(prefix="nas_domains-"))


def model(family: str = "vit", labels: int = 3, **changes):
    """2 layers of 16 features, 4 heads and 32 units, on RGB images of 16x16."""
    import transformers as hf

    kinds = {
        "vit": (hf.ViTConfig, hf.ViTForImageClassification),
        "deit": (hf.DeiTConfig, hf.DeiTForImageClassification),
    }
    config, kind = kinds[family]
    torch.manual_seed(0)
    shape = {"image_size": 16, "patch_size": 4, "num_labels": labels}
    made = kind(
        config(
            hidden_size=16, num_attention_heads=4, num_hidden_layers=2, intermediate_size=32,
            **{**shape, **changes},
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in made.parameters():
            # Larger than a fresh model's, so that what differs is seen.
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return made


def checkpoint(place, family: str = "vit", **options):
    made = model(family, **options)
    made.save_pretrained(place)
    seen = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "do_normalize": True}
    seen |= {"image_processor_type": "ViTImageProcessor"}
    (Path(place) / "preprocessor_config.json").write_text(json.dumps(seen))
    return made


def folder(family: str = "vit"):
    place = Path(HOME) / family
    if not place.exists():
        checkpoint(place, family)
    return str(place)


def small(family: str = "vit", **options):
    options = {"heads": "0-0.5-1", "widths": "0-0.25-1", **options}
    return vision_transformer(folder(family), **options)


class TestViT(SupernetContract):
    input_shapes = ((3, 16, 16), (3, 9, 14))
    samples = 20
    # Products over rows that lie apart may add up in another order.
    rounding = 1e-5

    def make_space(self):
        return small()

    def other_space(self):
        return small(heads="0-0.25-1")


@pytest.mark.parametrize("family", ["vit", "deit"])
def test_the_whole_network_is_that_of_transformers(family):
    theirs, space = model(family), small(family)
    generator = torch.Generator().manual_seed(1)
    mine = space.whole(3).eval()
    with torch.no_grad():
        for shape in ((16, 16), (12, 12)):
            x = torch.randn((3, 3, *shape), generator=generator)
            expected = theirs(x, interpolate_pos_encoding=True).logits
            assert (mine(x) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_classifier_is_taken_over_where_its_classes_are_in_order(tmp_path):
    theirs = checkpoint(tmp_path)
    config = tmp_path / "config.json"
    for names, taken in (("abc", True), ("bac", False)):
        content = json.loads(config.read_text())
        content["id2label"] = dict(enumerate(names))
        content["label2id"] = {n: i for i, n in enumerate(names)}
        config.write_text(json.dumps(content))
        whole = vision_transformer(str(tmp_path)).whole
        assert torch.equal(whole(3).head.classifier.weight, theirs.classifier.weight) == taken
        assert whole(5).head.classifier.weight.shape == (5, 16)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Grey and coloured squares, bright above or below, as files of several sizes."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for c, name in enumerate(("above", "below")):
        (root / name).mkdir()
        for i in range(20):
            side = 20 + i % 5
            pixels = rng.integers(0, 90, (side, side, 3))
            half = slice(0, side // 2) if c == 0 else slice(side // 2, None)
            pixels[half] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i:02d}.png")
    return root


def test_the_task_sees_as_the_checkpoint_did(pictures, tmp_path):
    task = load_task(str(pictures), checkpoint=folder())
    assert task.input_shape == (3, 16, 16) and task.recipe.optimizer == "adamw"
    assert task.space == f"vision-transformer:checkpoint={folder()}"
    assert task.preprocess["mean"] == [0.5, 0.4, 0.3]
    x, _ = task.train.batch([0, 1])
    plain = load_task(str(pictures), size=16)
    raw, _ = plain.train.batch([0, 1])
    mean, std = (torch.tensor(plain.preprocess[k]).view(-1, 1, 1) for k in ("mean", "std"))
    own = torch.tensor([0.5, 0.4, 0.3]).view(-1, 1, 1), torch.tensor([0.2, 0.3, 0.4])
    assert torch.allclose(x, (raw * std + mean - own[0]) / own[1].view(-1, 1, 1), atol=1e-4)
    # Grey arrays become RGB, of another size where that is asked for.
    assert load_task("digits", checkpoint=folder()).input_shape == (3, 16, 16)
    digits = load_task("digits", checkpoint=folder(), size=12)
    assert digits.input_shape == (3, 12, 12)
    x, _ = digits.train.batch([3])
    grey = x[0] * torch.tensor([0.2, 0.3, 0.4]).view(-1, 1, 1) + own[0]
    assert torch.allclose(grey[0], grey[1], atol=1e-5) and 0.9 < grey.max() <= 1 + 1e-5
    arrays = tmp_path / "images.npz"
    rng = np.random.default_rng(0)
    whole = {f"{p}_images": rng.normal(size=(8, 6, 6)).astype(np.float32) for p in
             ("train", "val", "test")}  # fmt: skip
    labels = {f"{p}_labels": np.arange(8) % 2 for p in ("train", "val", "test")}
    np.savez(arrays, **whole, **labels)
    x, _ = load_task(str(arrays), checkpoint=folder(), size="8x4").train.batch(list(range(8)))
    assert x.shape == (8, 3, 8, 4) and torch.equal(x[:, 0], x[:, 2]) and float(x.mean()) < 0.3


def test_what_it_cannot_read_is_refused(pictures, tmp_path):
    def changed(name, **fields):
        place = tmp_path / name
        checkpoint(place)
        for file in ("config.json", "preprocessor_config.json"):
            content = json.loads((place / file).read_text())
            content |= {k: v for k, v in fields.items() if (file[0] == "p") == k.startswith("im_")}
            content |= {k[3:]: v for k, v in content.items() if k.startswith("im_")}
            (place / file).write_text(json.dumps(content))
        return str(place)

    for name, fields, said in (
        ("kind", {"model_type": "bert"}, "'bert'"),
        ("bias", {"qkv_bias": False}, "biases"),
        ("heads", {"num_attention_heads": 3}, "divide"),
        ("none", {"num_attention_heads": 0}, "config.json"),
        ("act", {"hidden_act": "gelu_new"}, "'gelu_new'"),
        ("mean", {"im_image_mean": [0.5]}, "preprocessor_config.json"),
        ("std", {"im_image_std": [0.5, 0.0, 0.5]}, "preprocessor_config.json"),
        ("text", {"im_image_std": "x"}, "preprocessor_config.json"),
        ("patch", {"patch_size": 40}, "patches"),
        ("zero", {"patch_size": 0}, "config.json"),
    ):
        with refused(name, said):
            vision_transformer(changed(name, **fields))
    broken = changed("broken")
    (Path(broken) / "model.safetensors").write_bytes(b"x")
    with refused("broken", "model.safetensors"):
        vision_transformer(broken).whole(3)
    (Path(broken) / "model.safetensors").unlink()
    with refused("broken", "model.safetensors"):
        vision_transformer(broken).whole(3)
    with refused("wide"):
        vision_transformer(changed("wide", hidden_size=32)).whole(3)
    (Path(broken) / "config.json").write_text("[]")
    with refused("config.json"):
        vision_transformer(broken)
    with refused("checkpoint=FOLDER"):
        vision_transformer()
    with refused("config.json"):
        vision_transformer(str(tmp_path / "gone"))
    for options, said in (
        ({"checkpoint": str(tmp_path / "gone")}, "config.json"),
        ({"checkpoint": folder(), "size": "x"}, "size"),
        ({"checkpoint": folder(), "size": 0}, "size"),
    ):
        with refused(said):
            load_task(str(pictures), **options)
    with refused("size", "checkpoint"):
        load_task("digits", size=12)
    space = f"vision-transformer:checkpoint={folder()}"
    for task, said in (
        (load_task(str(pictures)), "checkpoint="),
        (load_task(str(pictures), checkpoint=folder(), size=3), "option size"),
    ):
        with refused(said):
            nd.search(space, task, out=tmp_path / "run", quiet=True)


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    return nd.search(
        f"vision-transformer:checkpoint={folder()},heads=0-0.5-1,widths=0-0.5-1",
        str(pictures),
        out=tmp_path_factory.mktemp("runs") / "a",
        objectives=["accuracy", "params<=5600"],
        budget="trials=3,epochs=1",
        train_budget="epochs=2",
        randoms=1,
        quiet=True,
    )


def test_a_run_is_compared_exported_and_predicts(run, pictures, tmp_path):
    assert run.config["task_options"] == {"checkpoint": folder()}
    assert run.result["strategy"] == "ofa" and run.result["best"]["metrics"]["params"] <= 5600
    assert set(run.result["baselines"]) >= {"full", "uniform"}
    for form in ("onnx", "torch"):
        assert export(run.path, form, tmp_path / form)[1] <= TOLERANCE
    assert predict(run.path, str(pictures), tmp_path / "p.csv", quiet=True) == 40
    # What is handed back sees a file as the run does.
    path, difference = export(run.path, "transformers", tmp_path / "theirs")
    assert difference <= TOLERANCE
    from transformers import AutoModelForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    image = Image.open(pictures / "above" / "00.png")
    x = ViTImageProcessorPil.from_pretrained(path)(image, return_tensors="pt")
    with torch.no_grad():
        scores = AutoModelForImageClassification.from_pretrained(path).eval()(**x).logits
    with (tmp_path / "p.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    shares = torch.tensor([float(row[f"p:{name}"]) for name in ("above", "below")])
    assert (shares - scores.softmax(1)[0]).abs().max() < 0.02


def test_an_image_processor_rescales_what_the_network_saw_rescaled():
    preprocess = {"mean": [0.5] * 3, "std": [0.2] * 3}
    for values, rescaled in ((None, True), ("unit", True), ("raw", False)):
        told = preprocess if values is None else preprocess | {"values": values}
        assert processor({"preprocess": told}, (3, 8, 8))["do_rescale"] is rescaled


LOAD = """
import sys
import nas_domains
import torch
from transformers import AutoModelForImageClassification
x = torch.linspace(-1, 1, 2 * 3 * 8 * 12).view(2, 3, 8, 12)
for folder in sys.argv[1:]:
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        print(model(pixel_values=x).logits.flatten().tolist(), type(model).__name__)
"""


@pytest.mark.parametrize("family", ["vit", "deit"])
def test_transformers_loads_what_is_handed_back(family, tmp_path):
    """A model of its family where all layers are alike, for images of the size that is asked."""
    space = small(family)
    description = {
        "classes": ["a", "b"],
        "config": {"checkpoint": folder(family)},
        "input_shape": (3, 8, 12),
        "preprocess": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    even = {"layer1.heads": 0, "layer1.width": 0, "layer2.heads": 4, "layer2.width": 8}
    networks = [
        space.build(space.architecture(c), (3, 8, 12), 2).eval()
        for c in (even, even | {"layer2.heads": 2})
    ]
    for i, network in enumerate(networks):
        save_folder(network, description, tmp_path / str(i), TOLERANCE)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "0"), str(tmp_path / "1")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    x = torch.linspace(-1, 1, 2 * 3 * 8 * 12).view(2, 3, 8, 12)
    kinds = {"vit": "ViT", "deit": "DeiT"}
    names = [f"{kinds[family]}ForImageClassification", "NasImageForImageClassification"]
    for line, network, name in zip(done.stdout.splitlines(), networks, names, strict=True):
        logits = torch.tensor(json.loads(line[: line.index("]") + 1]))
        with torch.no_grad():
            assert (logits - network(x).flatten()).abs().max() < 1e-5 * logits.abs().max()
        assert line.endswith(name)
    assert open_image_checkpoint(tmp_path / "0").spec.layers == 1
