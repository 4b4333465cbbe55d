"""The benchmark of path sampling: its rows, outputs and refusals."""

import json

import pytest

pytest.importorskip("nas_domains._sampler", reason="the benchmark needs the compiled modules")
from nas_domains import bench
from nas_domains.bench import sample_paths
from nas_domains.core.errors import UsageError
from nas_domains.testing import path_checks

KEYS = {"op", "space", "mode", "accepted_fraction", "backend", "per_second"}


def test_run_writes_table_json_and_plot(monkeypatch, tmp_path):
    monkeypatch.setattr(sample_paths, "PATHS", 2000)
    monkeypatch.setattr(sample_paths, "FRACTIONS", (0.5,))
    monkeypatch.setattr(sample_paths, "check", lambda device: None)
    result = bench.run("sample-paths", tmp_path / "r.json", tmp_path / "r.png", rounds=2)
    assert json.loads((tmp_path / "r.json").read_text()) == result
    assert set(result) == {"name", "header", "rows"}
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    rows = result["rows"]
    assert all(set(row) >= KEYS and row["per_second"] > 0 for row in rows)
    found = {(row["op"], row["mode"]) for row in rows}
    assert found == {("sample_paths", m) for m in path_checks.MODES} | {("PathSampler", "limit")}
    limits = [row for row in rows if row["mode"] == "limit"]
    assert {row["space"] for row in limits} == {"20x8", "ofa-mobilenet-v3"}
    assert all(0.49 < row["accepted_fraction"] < 0.51 for row in limits)
    text = bench.render(result)
    for word in ("torch.multinomial", "numpy rejection", "cpu", "threads", "ratio"):
        assert word in text


def test_numpy_draws_the_same_spaces():
    """The peers under a limit accept the share that PathSampler counts."""
    import numpy as np
    from nas_domains._sampler import PathSampler

    for space in (sample_paths._wide(), sample_paths._ofa()):
        sampler = PathSampler(space.costs, space.parents, space.active)
        costs = space.uniform(np.random.default_rng(1), 20_000)
        for quantile in (0.1, 0.5, 0.9):
            limit = int(np.quantile(costs, quantile))
            assert abs(sampler.fraction(limit) - (costs <= limit).mean()) < 0.02


def test_nothing_is_measured_on_a_red_contract(monkeypatch):
    def fail(device):
        raise AssertionError("fair: options are not even")

    monkeypatch.setattr(path_checks, "check_sample_paths", fail)
    monkeypatch.setattr(sample_paths, "measure", lambda *args: pytest.fail("it was measured"))
    with pytest.raises(UsageError, match="contract test of sample_paths fails"):
        bench.run("sample-paths")


def test_the_contract_of_path_sampler_is_green():
    path_checks.check_path_sampler()


def test_a_gpu_is_refused():
    with pytest.raises(UsageError, match="measures the CPU"):
        sample_paths.check("cuda")
