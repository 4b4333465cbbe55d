"""The benchmark of convolutions: its variants compute the same, and its floor counts products."""

import pytest
import torch

from nas_domains import bench
from nas_domains.bench import convolve
from nas_domains.bench.harness import peak_bytes
from nas_domains.ops import convolve as ours


def test_a_run_has_a_case_for_each_kernel(monkeypatch):
    cases = ((1, 3, (4, 5), (3, 3)), (1, 3, (4, 5), (1, 3)), (2, 3, (7,), (3,)))
    monkeypatch.setattr(convolve, "CASES", cases)
    monkeypatch.setattr(convolve, "arithmetic_rate", lambda device: 1e9)
    # The contract is tested elsewhere.
    monkeypatch.setattr("nas_domains.testing.op_checks.check_op", lambda *_: None)
    result = bench.run("convolve", rounds=1)
    floors = [case["floor"] for case in result["cases"]]
    products = [9 * 20 * 4, 9 * 20 * 2, 9 * 14 * 2]
    assert floors == pytest.approx([6 * n / 1e9 for n in products])
    for case in result["cases"]:
        assert [row["variant"] for row in case["rows"]] == ["nas_domains", "eager CL", "eager"]
    assert "3x3" in bench.render(result)


def test_memory_of_large_results_is_counted():
    x, w = torch.zeros(1, 4, 300, 300), torch.zeros(8, 4, 3, 3)
    result = 4 * 8 * 300 * 300
    assert peak_bytes(lambda: ours(x, w)) >= result
