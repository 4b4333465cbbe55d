"""The benchmark harness: order of samples, refusal when the contract is red, outputs."""

import dataclasses
import json

import pytest
import torch

from nas_domains import bench
from nas_domains.bench import harness, norm_weighted_sum, weighted_sum
from nas_domains.core.errors import UsageError
from nas_domains.ops.backend import native_module
from nas_domains.testing import op_checks
from nas_domains.testing.op_samples import OpCase


def test_samples_are_taken_in_turn():
    order = []
    rows = harness.compare(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warmup=1
    )
    assert order == ["a", "b"] + ["a", "b"] * 3
    assert [row.variant for row in rows] == ["a", "b"] and rows[0].ratio == 1
    assert all(0 < row.minimum <= row.median for row in rows)


def test_run_writes_table_json_and_plot(monkeypatch, tmp_path):
    monkeypatch.setattr(weighted_sum, "CASES", (OpCase((2, 4, 5, 5), 3),))
    result = bench.run("weighted-sum", json=tmp_path / "r.json", plot=tmp_path / "r.png", rounds=2)
    assert json.loads((tmp_path / "r.json").read_text()) == result
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    text = bench.render(result)
    for word in ("torch.compile", "eager", "floor", "threads", "date", "peak MB"):
        assert word in text


def test_norms_are_compared_with_torch_in_both_layouts(monkeypatch):
    monkeypatch.setattr(norm_weighted_sum, "CASES", (OpCase((2, 4, 5, 5), 3),))
    (case,) = bench.run("norm-weighted-sum", rounds=1)["cases"]
    assert case["bytes"] == (5 * 3 + 3) * 2 * 4 * 5 * 5 * 4
    peers = {"eager", "eager CL", "compile", "compile CL"}
    assert {row["variant"] for row in case["rows"]} == {"nas_domains", "nas_domains NC"} | peers


def test_peak_memory_is_that_of_the_tensors_held_together():
    x = torch.ones(1 << 16)
    size = x.numel() * 4
    most = harness.peak_bytes(lambda: (x * 2 + 1).sum())
    assert 2 * size <= most < 2 * size + 1024, "the product and the sum of one and no third"
    assert harness.peak_bytes(lambda: x.sum()) < 1024


def test_the_rate_of_arithmetic_is_no_less_than_that_of_a_product(monkeypatch):
    with_registers = harness.arithmetic_rate(rounds=5)
    monkeypatch.setattr(harness, "native_module", lambda: None)
    # Half, as other work may come between.
    assert with_registers > 0.5 * harness.arithmetic_rate(rounds=5) > 0


def test_multiplications_are_counted_and_done():
    native = native_module()
    if native is None:
        pytest.skip("the compiled module was not built")
    one = native.multiply_adds(1)
    assert one > 0 and native.multiply_adds(1000) == 1000 * one
    rows = harness.compare(
        {"many": lambda: native.multiply_adds(2_000_000), "few": lambda: native.multiply_adds(1)},
        rounds=5,
    )
    # No core of today does more than two multiplications and two additions of a vector at a time,
    # six billion times a second: a compiler that left some out would seem to.
    lanes = {"avx512": 16, "avx2": 8, "portable": 4}[native.isa()]
    assert 2_000_000 * one / rows[0].minimum < 4 * lanes * 6e9 * torch.get_num_threads()


def test_nothing_is_measured_on_a_red_contract(monkeypatch):
    broken = dataclasses.replace(
        weighted_sum.SAMPLE, call=lambda w, *xs: weighted_sum.SAMPLE.formula(w, *xs) * 1.001
    )
    monkeypatch.setattr(weighted_sum, "SAMPLE", broken)
    monkeypatch.setattr(weighted_sum, "measure", lambda *args: pytest.fail("it was measured"))
    with pytest.raises(UsageError, match="contract test of weighted_sum fails"):
        bench.run("weighted-sum")


def test_the_contract_runs_on_the_device_measured(monkeypatch):
    seen = []
    monkeypatch.setattr(op_checks, "check_values", lambda *args, device: seen.append(device))
    monkeypatch.setattr(op_checks, "check_gradients", lambda *args: seen.append(args[-1]))
    op_checks.check_op(weighted_sum.SAMPLE, "cuda")
    assert set(seen) == {"cuda"}


def test_wrong_names_and_rounds():
    with pytest.raises(UsageError, match="no benchmark 'mixed'; use one of .*weighted-sum"):
        bench.run("mixed")
    with pytest.raises(UsageError, match="Unknown device 'tpu'"):
        bench.run("weighted-sum", device="tpu")
    with pytest.raises(ValueError, match="rounds=0"):
        harness.compare({"a": lambda: None}, 0)
