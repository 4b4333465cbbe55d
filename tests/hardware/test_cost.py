"""How often a latency is measured."""

import itertools

import pytest
import torch
from torch import nn

from nas_domains.hardware import cost


class Counting(nn.Linear):
    """Counts its passes."""

    passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return super().forward(x)


@pytest.mark.parametrize(("tick", "passes"), [(1e-6, 35), (0.5, 10), (0.1, 12)])
def test_a_slow_network_is_measured_fewer_times(
    monkeypatch: pytest.MonkeyPatch, tick: float, passes: int
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(cost.time, "perf_counter", lambda: tick * next(clock))
    network = Counting(3, 2)
    # The clock is read once a pass of the warm-up, twice a pass that counts, and from the fifth of
    # them three times: in tenths of a second it stands above two after the seventh.
    found = cost.measure_latency(network, (3,))
    assert found == pytest.approx(1000 * tick)
    assert network.passes == passes
