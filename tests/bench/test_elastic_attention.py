"""The benchmark of elastic attention: its variants compute the same."""

import torch

from nas_domains import bench
from nas_domains.bench import elastic_attention


def test_variants_agree(monkeypatch):
    monkeypatch.setattr(elastic_attention, "SIZES", (2, 5, 3, 4))
    layer = elastic_attention._layer("cpu")
    x, weights, biases = layer
    expected = elastic_attention.elastic_attention(x, weights, biases, head_dim=4, heads=2)
    fused, stepwise = elastic_attention._fused, elastic_attention._stepwise
    for found in (
        elastic_attention._sliced(2, fused, layer),
        elastic_attention._sliced(2, stepwise, layer),
        elastic_attention._viewed(2, layer),
        elastic_attention._masked(2, layer),
    ):
        torch.testing.assert_close(found, expected)


def test_a_run_has_a_case_for_each_number_of_heads(monkeypatch):
    monkeypatch.setattr(elastic_attention, "SIZES", (2, 5, 3, 4))
    monkeypatch.setattr(elastic_attention, "KEPT", (1, 2))
    # Compiling and the contract are tested elsewhere.
    monkeypatch.setattr(torch, "compile", lambda f, **_: f)
    monkeypatch.setattr("nas_domains.testing.op_checks.check_op", lambda *_: None)
    result = bench.run("elastic-attention", rounds=1)
    first, second = result["cases"]
    assert 0 < first["floor"] < second["floor"]
    names = [row["variant"] for row in first["rows"]]
    assert names[:2] == ["nas_domains", "slice-and-cat"] and len(names) == 9
    assert "masking" in bench.render(result)
