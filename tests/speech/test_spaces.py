"""The space ``speech-transformer``: the contracts, on tiny random checkpoints."""

import os
import tempfile
from pathlib import Path

import pytest
import torch

from nas_domains.core.space_text import load_space
from nas_domains.speech.spaces import speech_transformer
from nas_domains.testing.supernets import SupernetContract
from tests.core.refusal import refused
from tests.speech import make

# One place in all processes of a test run: fingerprints hold it, and a test asks another process.
HOME = os.environ.setdefault("NAS_DOMAINS_TEST_SPEECH", tempfile.mkdtemp(prefix="nas_domains-"))


def folder(family="wav2vec2", norm="group"):
    """A tiny checkpoint, made where it is not there yet."""
    place = Path(HOME) / f"{family}-{norm}"
    if not place.exists():
        make.checkpoint(place, family, norm)
    return str(place)


def small(family="wav2vec2", norm="group", **options):
    options = {"heads": "0-0.5-1", "widths": "0-0.25-1", **options}
    return speech_transformer(folder(family, norm), **options)


class TestWav2Vec2(SupernetContract):
    input_shapes = ((1600,), (901,))
    samples = 20
    # Products over rows that lie apart may add up in another order.
    rounding = 1e-5
    untrained = ("encoder.features.",)

    def make_space(self):
        return small()

    def other_space(self):
        return small(heads="0-0.25-1")


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_the_whole_network_is_that_of_transformers(family, norm):
    """Padding too: where a model was pretrained with a mask, it is read off the zeros."""
    space = small(family, norm)
    theirs = make.pretrained(family, norm)
    x = torch.randn(3, 1600, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([1600, 900, 333])
    inside = torch.arange(1600) < lengths[:, None]
    x = x * inside
    mine = space.whole(3)
    space.checkpoint.fill(mine)
    mask = inside.long() if norm == "layer" else None
    with torch.no_grad():
        expected = theirs(x, attention_mask=mask).logits
        assert torch.equal(mine.eval()(x), expected)
        supernet = space.supernet((1600,), 3).eval()
        supernet.set_architecture(space.largest())
        assert (supernet(x) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_silence_is_no_trouble():
    network = small(norm="layer").build(small(norm="layer").largest(), (1600,), 3).eval()
    assert torch.isfinite(network(torch.zeros(2, 1600))).all()


def test_parts_are_copies_of_the_weights_and_the_convolutions_stay():
    space = small()
    part = space.build(space.smallest(), (1600,), 3)
    part(torch.randn(2, 1600)).sum().backward()
    grads = {name: p.grad for name, p in part.named_parameters()}
    assert all(g is None for name, g in grads.items() if "features" in name)
    assert all(g is not None for name, g in grads.items() if "encoder.layers" in name)
    assert part.encoder.layers[0].attention.query.weight.shape == (8, 16)


def test_old_names_of_weights_are_read(tmp_path):
    from safetensors.torch import load_file, save_file

    place = tmp_path / "old"
    make.checkpoint(place)
    file = place / "model.safetensors"
    new = ".conv.parametrizations.weight.original"
    state = load_file(file)
    assert any(new in name for name in state)
    old = {n.replace(f"{new}0", ".conv.weight_g").replace(f"{new}1", ".conv.weight_v"): w
           for n, w in state.items()}  # fmt: skip
    save_file(old, file, metadata={"format": "pt"})
    whole = [speech_transformer(str(p)).whole(3) for p in (place, folder())]
    x = torch.randn(2, 1600)
    assert torch.equal(whole[0].eval()(x), whole[1].eval()(x))


def test_mistakes_are_one_sentence(tmp_path):
    good = Path(folder())
    config = (good / "config.json").read_text()

    def broken(name, text, weights=None):
        place = tmp_path / name
        place.mkdir()
        (place / "config.json").write_text(text)
        if weights is not None:
            (place / "model.safetensors").write_bytes(weights)
        return str(place)

    own = (good / "model.safetensors").read_bytes()
    for make_it, said in [
        (lambda: speech_transformer(), "needs a checkpoint"),
        (lambda: speech_transformer(str(tmp_path / "none")), "holds no config.json"),
        (lambda: speech_transformer(broken("no-json", "{")), "is damaged"),
        (lambda: speech_transformer(broken("bert", '{"model_type": "bert"}')), "'bert' model"),
        (lambda: speech_transformer(broken("three", config.replace(
            '"num_attention_heads": 4', '"num_attention_heads": 3'))), "do not divide"),
        (lambda: speech_transformer(broken("adapter", config.replace(
            '"add_adapter": false', '"add_adapter": true'))), "adapters"),
        (lambda: speech_transformer(broken("act", config.replace(
            '"hidden_act": "gelu"', '"hidden_act": "mish"'))), "activation"),
        (lambda: speech_transformer(broken("bare", config)).whole(3), "no model.safetensors"),
        (lambda: speech_transformer(broken("cut", config, own[:200])).whole(3), "can be read"),
        (lambda: speech_transformer(broken("wide", config.replace(
            '"intermediate_size": 32', '"intermediate_size": 24'), own)).whole(3), "do not fit"),
        (lambda: small(heads="2"), "shares from 0 to 1"),
        (lambda: small(widths="0"), "not 0 alone"),
        (lambda: small(tune=-1), "whole number"),
        (lambda: small(distil="no"), "true or false"),
        (lambda: small().supernet((1, 40, 101), 3), "form=wave"),
        (lambda: small().supernet((30,), 3), "too short"),
        (lambda: load_space("speech-transformer"), "needs a checkpoint"),
    ]:  # fmt: skip
        with refused(said):
            make_it()
