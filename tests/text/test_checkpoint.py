"""Checkpoints of transformers, read into our encoder: the same logits."""


import pytest
import torch

from nas_domains.nn.encoder import LayerSize, classifier_of
from nas_domains.text.checkpoint import open_checkpoint
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
