"""What models of transformers have in common; what is read by each is tested in its domain."""

import subprocess
import sys
from dataclasses import asdict

import pytest
import torch

from nas_domains.nn.encoder import EncoderSpec, LayerSize

pytest.importorskip("transformers")

from nas_domains.nn.encoder_models import filled, form_of
from nas_domains.nn.text_classifier import classifier_of
from nas_domains.text.modeling import (
    NasEncoderConfig,
    NasEncoderForSequenceClassification,
)

SPEC = EncoderSpec(hidden=8, heads=2, width=12, layers=3, vocabulary=20, positions=16)
SIZES = [LayerSize(2, 12), LayerSize(0, 5), LayerSize(1, 0)]


def network():
    torch.manual_seed(0)
    return classifier_of(SPEC, SIZES, 3).eval()


def test_the_form_of_a_network():
    form = form_of(network(), ("a", "b", "c"))
    assert form["spec"] == asdict(SPEC)
    assert form["layer_heads"] == [2, 0, 1] and form["layer_widths"] == [12, 5, 0]
    assert form["id2label"] == {0: "a", 1: "b", 2: "c"}


def test_a_configuration_comes_back_from_its_file(tmp_path):
    config = NasEncoderConfig(**form_of(network(), ()))
    config.save_pretrained(tmp_path)
    read = NasEncoderConfig.from_pretrained(tmp_path)
    assert read.encoder_spec == SPEC and read.sizes == SIZES and read.hidden_size == 8
    # transformers makes one without arguments to write what differs from it.
    assert NasEncoderConfig().encoder_spec == NasEncoderConfig.tiny


def test_a_model_is_filled_with_a_copy():
    own = network()
    made = NasEncoderForSequenceClassification(NasEncoderConfig(**form_of(own, ())))
    name = next(iter(own.encoder.state_dict()))
    other = torch.full_like(own.encoder.state_dict()[name], 0.5)
    found = filled(made.train(), own)
    x = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
    assert not found.training
    assert torch.equal(found(x, x != 0).logits, own(x))
    assert torch.equal(filled(made, own, **{name: other}).model.encoder.state_dict()[name], other)
    assert not torch.equal(own.encoder.state_dict()[name], other)


@pytest.mark.parametrize("domain", ["text", "speech", "vision"])
def test_models_may_be_imported_before_transformers(domain):
    code = (
        f"import nas_domains.{domain}.modeling as own; from transformers import AutoModel; "
        "(known,) = [m for m in AutoModel._model_mapping._extra_content.values()"
        f" if m.__module__ == own.__name__]; print(known.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("Nas"), done.stderr[-2000:]
