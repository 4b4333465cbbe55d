"""Costs that objectives name: ONNX Runtime's latency, peak memory, energy."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nas_domains as nd
from nas_domains.core.errors import UsageError
from nas_domains.core.objective import parse_objectives
from nas_domains.hardware.energy import Rapl, energy_meter, measure_energy
from nas_domains.hardware.memory import peak_memory
from nas_domains.hardware.meters import METERS, check_meters, how_measured, measured
from nas_domains.hardware.ort import measure_ort_latency
from tests.make import Widths, make_task, one_sentence


def test_peak_memory_counts_weights_and_what_lives_at_once() -> None:
    network = nn.Sequential(nn.Linear(100, 1000, bias=False), nn.ReLU(), nn.Linear(1000, 10))
    weights = 100 * 1000 + 1000 * 10 + 10
    # Input and the widest two maps; the first is freed after the ReLU.
    most = weights + 100 + 2 * 1000
    found = peak_memory(network, (100,))
    assert (weights + 100 + 1000) * 4 / 1e6 <= found <= (most + 100) * 4 / 1e6
    batch = peak_memory(network, (100,), batch=64)
    assert batch == pytest.approx((weights + 64 * (100 + 2 * 1000)) * 4 / 1e6, rel=0.01)
    assert network.training and peak_memory(network, (100,)) == found


def test_peak_memory_does_not_add_up_what_is_freed() -> None:
    class Chain(nn.Module):
        def __init__(self, length: int) -> None:
            super().__init__()
            self.length, self.weight = length, nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(self.length):
                x = x * self.weight
            return x

    assert peak_memory(Chain(50), (1000,)) == peak_memory(Chain(4), (1000,))


def test_latency_in_onnx_runtime_leaves_the_network_as_it_was() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert measure_ort_latency(network, (1, 8, 8), repeats=5, threads=1) > 0
    assert network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def counters(folder: Path, packages: int = 2, span: int = 10**6) -> list[Path]:
    """Files as Linux's powercap has them: packages, a zone within the first, and no other."""
    files = []
    for name in [f"intel-rapl:{i}" for i in range(packages)] + ["intel-rapl:0:0"]:
        (folder / name).mkdir(parents=True)
        (folder / name / "max_energy_range_uj").write_text(f"{span}\n")
        (folder / name / "energy_uj").write_text("999000\n")
        files.append(folder / name / "energy_uj")
    return files


def test_energy_is_that_of_all_packages_and_counters_may_begin_again(tmp_path: Path) -> None:
    first, second, zone = counters(tmp_path)
    meter = Rapl(tmp_path)
    before = meter.read()
    assert before == [999000, 999000]
    first.write_text("999500")
    # Past its range it begins again at 0.
    second.write_text("1000")
    zone.write_text("0")
    assert meter.since(before) == pytest.approx((500 + 2001) / 1000)


def test_what_a_platform_counts_is_not_counted_twice(tmp_path: Path) -> None:
    first, second, _ = counters(tmp_path)
    (first.parent / "name").write_text("package-0\n")
    (second.parent / "name").write_text("psys\n")
    assert Rapl(tmp_path).files == [first]


def test_energy_of_a_pass_is_the_mean_over_many(tmp_path: Path) -> None:
    (file, _, _) = counters(tmp_path, span=10**9)
    meter, passes = Rapl(tmp_path), []

    class Eats(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            file.write_text(str(int(file.read_text()) + 7000))
            passes.append(1)
            return super().forward(x)

    ticks = iter(range(100))
    found = measure_energy(
        Eats(2, 2), (2,), meter=meter, seconds=5, clock=lambda: float(next(ticks))
    )
    assert found == pytest.approx(7.0) and len(passes) > 3


@pytest.mark.parametrize("broken", ["none", "text"])
def test_missing_counters_are_named(tmp_path: Path, broken: str) -> None:
    if broken == "text":
        counters(tmp_path)[0].write_text("no number")
    with pytest.raises(UsageError) as error:
        Rapl(tmp_path)
    one_sentence(str(error.value), "energy_mj", str(tmp_path))


@pytest.mark.skipif(
    any(Path("/sys/class/powercap").glob("*-rapl:*")), reason="this machine has counters"
)
def test_a_search_for_energy_without_counters_is_refused_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        energy_meter(torch.device("cpu"))
    one_sentence(str(error.value), "energy_mj", "powercap")
    with pytest.raises(UsageError):
        check_meters(
            parse_objectives(["accuracy", "energy_mj"], ["accuracy"]), torch.device("cpu")
        )
    with pytest.raises(UsageError):
        run(tmp_path, ["accuracy", "energy_mj"])
    assert not (tmp_path / "run").exists()


def test_only_what_is_named_is_measured_and_said_how() -> None:
    objectives = parse_objectives(["accuracy", "peak_memory_mb<=9"], ["accuracy"])
    task = make_task()
    network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(task.input_shape), 2))
    assert set(measured(network, task, objectives)) == {"peak_memory_mb"}
    assert measured(network, task, objectives[:1]) == {}
    words = how_measured(objectives, "cpu")
    assert set(words) == {"latency_ms", "peak_memory_mb"} and "thread" in words["latency_ms"]
    every = parse_objectives(["accuracy", *METERS], ["accuracy"])
    assert set(METERS) < set(how_measured(every, "cpu"))


def run(folder: Path, objectives: list[str]) -> Any:
    return nd.search(
        Widths(),
        make_task(),
        out=folder / "run",
        strategy="random",
        objectives=objectives,
        budget="trials=4,epochs=1",
        train_budget="epochs=1",
        validate=False,
        quiet=True,
    )


def test_a_search_weighs_memory_and_reports_front_and_knee(tmp_path: Path) -> None:
    made = run(tmp_path, ["accuracy", "peak_memory_mb"])
    result = made.result
    assert result["best"]["metrics"]["peak_memory_mb"] > 0
    for record in made.history.of("search"):
        assert record.metrics["peak_memory_mb"] > 0
    assert result["front"]["hypervolume"][-1][0] == 4
    page = (made.path / "report.html").read_text()
    assert "Hypervolume over the trials" in page and "peak memory, MB" in page
    assert "weights and tensors that live at once" in page
