"""The benchmark harness: order of samples, refusal when the contract is red, outputs."""

import dataclasses
import json

import pytest
import torch

from nas_domains import bench
from nas_domains.bench import harness, weighted_sum
from nas_domains.core.errors import UsageError
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


def test_peak_memory_is_that_of_the_tensors_held_together():
    x = torch.ones(1 << 16)
    size = x.numel() * 4
    most = harness.peak_bytes(lambda: (x * 2 + 1).sum())
    assert 2 * size <= most < 2 * size + 1024, "the product and the sum of one and no third"
    assert harness.peak_bytes(lambda: x.sum()) < 1024


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
