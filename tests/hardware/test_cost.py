"""How often a latency is measured."""

import itertools
import time

import pytest
import torch
from torch import nn

from nas_domains.hardware import cost
from nas_domains.hardware.meters import how_measured


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
    for name in ("perf_counter", "thread_time"):
        monkeypatch.setattr(cost.time, name, lambda: tick * next(clock))
    network = Counting(3, 2)
    # The clock is read once a pass of the warm-up, twice a pass that counts, and from the fifth of
    # them three times: in tenths of a second it stands above two after the seventh.
    found = cost.measure_latency(network, (3,))
    assert found == pytest.approx(1000 * tick)
    assert network.passes == passes


class Waiting(nn.Linear):
    """Waits in a pass, as for a core that others use."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return super().forward(x)


@pytest.mark.parametrize("threads", [1, 2])
def test_other_programs_do_not_lengthen_the_passes_of_one_thread(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = cost.measure_latency(Waiting(3, 2), (3,))
        said = how_measured((), "cpu")["latency_ms"]
    finally:
        torch.set_num_threads(before)
    assert (found < 10) == (threads == 1)
    assert ("CPU time" in said) == (threads == 1)
