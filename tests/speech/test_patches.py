"""Parts of an Audio Spectrogram Transformer: the contracts, what it hears, and whole runs."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import nas_domains as nd
from nas_domains.core.task import load_task
from nas_domains.data.audio import read_wave
from nas_domains.data.fbank import FbankShape
from nas_domains.export.for_transformers import save_folder
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.export.predict import predict
from nas_domains.speech.checkpoint import open_speech_checkpoint
from nas_domains.speech.spaces import speech_transformer
from nas_domains.testing.supernets import SupernetContract
from tests.core.refusal import refused
from tests.speech import make
from tests.speech.test_spaces import HOME
from tests.speech.test_spaces import folder as wave_folder


def folder():
    """A tiny checkpoint, made where it is not there yet."""
    place = Path(HOME) / "ast"
    if not place.exists():
        make.spectrogram_checkpoint(place)
    return str(place)


def small(**options):
    return speech_transformer(folder(), **{"heads": "0-0.5-1", "widths": "0-0.25-1", **options})


class TestAst(SupernetContract):
    input_shapes = ((1, 16, 60), (1, 16, 21))
    samples = 20
    # Products over rows that lie apart may add up in another order.
    rounding = 1e-5

    def make_space(self):
        return small()

    def other_space(self):
        return small(heads="0-0.25-1")


def test_the_whole_network_is_that_of_transformers():
    theirs, space = make.spectrogram_model(), small()
    x = torch.randn((3, 1, 16, 60), generator=torch.Generator().manual_seed(1))
    mine = space.whole(3).eval()
    with torch.no_grad():
        expected = theirs(x[:, 0].transpose(1, 2)).logits
        assert (mine(x) - expected).abs().max() < 1e-5 * expected.abs().max()
        states = theirs.audio_spectrogram_transformer(x[:, 0].transpose(1, 2)).last_hidden_state
        assert (mine.encoder(x)[0] - states).abs().max() < 1e-4


def test_older_names_of_weights_are_read(tmp_path):
    """As transformers wrote them before its version 5."""
    from safetensors.torch import save_file

    made = make.spectrogram_checkpoint(tmp_path)
    old = {}
    for name, weight in made.state_dict().items():
        name = name.replace("transformer.layers.", "transformer.encoder.layer.")
        for ours, theirs in (
            ("attention.q_proj", "attention.attention.query"),
            ("attention.k_proj", "attention.attention.key"),
            ("attention.v_proj", "attention.attention.value"),
            ("attention.o_proj", "attention.output.dense"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
        ):
            name = name.replace(ours, theirs)
        old[name] = weight
    assert "encoder.layer.0." in " ".join(old)
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    whole = [speech_transformer(str(p)).whole(3).eval() for p in (tmp_path, folder())]
    x = torch.randn((2, 1, 16, 60))
    with torch.no_grad():
        assert torch.equal(whole[0](x), whole[1](x))


def test_a_classifier_of_other_outputs_starts_anew():
    torch.manual_seed(0)
    three, five = small().whole(3), small().whole(5)
    assert torch.equal(three.encoder.positions, five.encoder.positions)
    assert torch.equal(three.head.norm.weight, five.head.norm.weight)


def test_a_classifier_is_taken_over_where_its_classes_are_in_order(tmp_path):
    theirs = make.spectrogram_checkpoint(tmp_path)
    config = tmp_path / "config.json"
    for names, taken in (("abc", True), ("bac", False), (("2", "9", "10"), True)):
        content = json.loads(config.read_text())
        content["id2label"] = dict(enumerate(names))
        content["label2id"] = {n: i for i, n in enumerate(names)}
        config.write_text(json.dumps(content))
        mine = speech_transformer(str(tmp_path)).whole(3)
        same = torch.equal(mine.head.classifier.weight, theirs.classifier.dense.weight)
        assert same == taken, names
        assert torch.equal(mine.encoder.norm.weight, theirs.state_dict()[NORM])


NORM = "audio_spectrogram_transformer.layernorm.weight"


def test_frames_are_those_of_the_feature_extractor():
    from transformers import AutoFeatureExtractor

    extractor = AutoFeatureExtractor.from_pretrained(folder())
    shape = FbankShape(16_000, 60, 16)
    assert shape.samples == 59 * 160 + 400
    waves = [make.tone(440, seconds, rate=16_000) for seconds in (0.3, 0.61)]
    found = (shape.spectra(waves) + 5.0) / 6.0
    for i, wave in enumerate(waves):
        expected = extractor(wave, sampling_rate=16_000, return_tensors="pt")["input_values"][0]
        assert (found[i, 0].T - expected).abs().max() < 1e-4
    # Of what is longer the start is heard; what is shorter than a frame is filled up.
    long, tiny = make.tone(440, 1.0, rate=16_000), np.ones(20, np.float32)
    expected = extractor(long, sampling_rate=16_000, return_tensors="pt")["input_values"][0]
    assert ((shape.spectra([long])[0, 0].T + 5.0) / 6.0 - expected).abs().max() < 1e-4
    assert torch.equal(shape.spectra([tiny]), shape.spectra([np.pad(tiny, (0, 380))]))


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return Path(make.write_folder(tmp_path_factory.mktemp("tones"), n=12))


def test_the_task_hears_as_the_checkpoint_did(tones):
    task = load_task(str(tones), features=folder())
    assert task.input_shape == (1, 16, 26) and task.recipe.optimizer == "adamw"
    assert task.preprocess["mean"] == [-5.0] * 16 and task.preprocess["std"] == [6.0] * 16
    names, split = nd.core.registry.tasks.load("recordings").inputs(str(tones), task.preprocess)
    everything = torch.cat([s.x for s in (task.train, task.val, task.test)])
    assert len(names) == 24
    for row in split.x:
        assert (everything - row).abs().amax((1, 2, 3)).min() < 1e-6
    assert task.space == f"speech-transformer:checkpoint={folder()}"
    longest = load_task(str(tones), features=folder(), seconds=5)
    assert longest.input_shape == (1, 16, 60)
    assert any("the longest that the checkpoint takes" in note for note in longest.notes)


def test_mistakes_are_one_sentence(tones, tmp_path):
    data = str(tones)

    def changed(name, **fields):
        place = tmp_path / name
        make.spectrogram_checkpoint(place)
        for file in ("config.json", "preprocessor_config.json"):
            content = json.loads((place / file).read_text())
            content |= {k: v for k, v in fields.items() if k in content}
            (place / file).write_text(json.dumps(content))
        return str(place)

    for name, fields, said in (
        ("bias", {"qkv_bias": False}, "biases"),
        ("patch", {"patch_size": [8, 8]}, "square"),
        ("rate", {"sampling_rate": 8000}, "8000 Hz"),
        ("heads", {"num_attention_heads": 3}, "divide"),
        ("act", {"hidden_act": "gelu_new"}, "'gelu_new'"),
        ("mean", {"mean": None}, "preprocessor_config.json"),
        ("std", {"std": 0}, "preprocessor_config.json"),
        ("stride", {"time_stride": 0}, "config.json"),
        ("bands", {"num_mel_bins": 4}, "larger patches"),
    ):
        with refused(name, said):
            speech_transformer(changed(name, **fields))
    broken = changed("broken")
    (Path(broken) / "model.safetensors").write_bytes(b"x")
    with refused("broken", "model.safetensors"):
        speech_transformer(broken).whole(3)
    (Path(broken) / "model.safetensors").unlink()
    with refused("broken", "model.safetensors"):
        speech_transformer(broken).whole(3)
    wide = changed("wide", hidden_size=32)
    with refused("wide"):
        speech_transformer(wide).whole(3)
    for options, said in (
        ({"features": wave_folder()}, "Audio Spectrogram Transformer"),
        ({"features": str(tmp_path / "gone")}, "config.json"),
        ({"features": folder(), "bins": 40}, "bins"),
        ({"features": folder(), "rate": 8000}, "rate"),
        ({"features": folder(), "form": "mel"}, "form"),
    ):
        with refused(said):
            load_task(data, **options)
    space = f"speech-transformer:checkpoint={folder()}"
    for task, said in (
        (load_task(data), "features="),
        (load_task(data, features=folder(), seconds=0.05), "option seconds"),
    ):
        with refused(said):
            nd.search(space, task, out=tmp_path / "run", quiet=True)


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    return nd.search(
        f"speech-transformer:checkpoint={folder()},heads=0-0.5-1,widths=0-0.5-1",
        str(tones),
        out=tmp_path_factory.mktemp("runs") / "a",
        objectives=["accuracy", "params<=5200"],
        budget="trials=3,epochs=1",
        train_budget="epochs=2",
        randoms=1,
        quiet=True,
    )


def test_a_run_is_compared_exported_and_predicts(run, tones, tmp_path):
    assert run.config["task_options"] == {"features": folder()}
    assert run.result["strategy"] == "ofa" and run.result["best"]["metrics"]["params"] <= 5200
    assert set(run.result["baselines"]) == {"full", "uniform"}
    for form in ("onnx", "torch"):
        assert export(run.path, form, tmp_path / form)[1] <= TOLERANCE
    assert predict(run.path, str(tones), tmp_path / "p.csv", quiet=True) == 24
    # What is handed back says the same of a recording that is longer than all before.
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    wave = make.write(tmp_path / "long" / "a.wav", 900, 0.7)
    assert predict(run.path, wave, tmp_path / "one.csv", quiet=True) == 1
    path, _ = export(run.path, "transformers", tmp_path / "theirs")
    samples = read_wave(wave, 16_000)
    x = AutoFeatureExtractor.from_pretrained(path)(
        samples, sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        scores = AutoModelForAudioClassification.from_pretrained(path).eval()(**x).logits
    with (tmp_path / "one.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    shares = [float(row[f"p:{name}"]) for name in ("high", "low")]
    assert (torch.tensor(shares) - scores.softmax(1)[0]).abs().max() < 1e-4


LOAD = """
import sys
import nas_domains
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
wave = torch.linspace(-1, 1, 4400).mul(300).sin().numpy()
for folder in sys.argv[1:]:
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    x = AutoFeatureExtractor.from_pretrained(folder)(wave, sampling_rate=16000,
        return_tensors="pt")
    with torch.no_grad():
        print(model(**x).logits.flatten().tolist(), type(model).__name__,
              list(x["input_values"].shape), model.config.id2label)
"""


def test_transformers_loads_what_is_handed_back(run, tmp_path):
    """An AST of its own where all layers are alike, also for recordings that are shorter."""
    assert export(run.path, "transformers", tmp_path / "mine")[1] <= TOLERANCE
    space = nd.load_space(f"speech-transformer:checkpoint={folder()}")
    choices = {"layer1.heads": 0, "layer1.width": 0, "layer2.heads": 4, "layer2.width": 16}
    plain = space.build(space.architecture(choices), (1, 16, 28), 2).eval()
    description = {
        "classes": ["high", "low"],
        "config": {"checkpoint": folder()},
        "input_shape": (1, 16, 28),
    }
    save_folder(plain, description, tmp_path / "plain", TOLERANCE)
    folders = [str(tmp_path / "mine"), str(tmp_path / "plain")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *folders], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    wave = torch.linspace(-1, 1, 4400).mul(300).sin().numpy()
    kinds = ["NasWaveForAudioClassification", "ASTForAudioClassification"]
    for line, network, kind, frames in zip(
        done.stdout.splitlines(), (nd.load(run.path), plain), kinds, (26, 28), strict=True
    ):
        x = (FbankShape(16_000, frames, 16).spectra([wave]) + 5.0) / 6.0
        logits = json.loads(line[: line.index("]") + 1])
        with torch.no_grad():
            expected = network(x).flatten()
        assert (torch.tensor(logits) - expected).abs().max() < 1e-4
        assert f"{kind} [1, {frames}, 16] {{0: 'high', 1: 'low'}}" in line
    assert open_speech_checkpoint(tmp_path / "plain").spec.layers == 1
