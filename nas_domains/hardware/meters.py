"""Costs that are measured only where an objective names them."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ..core.errors import UsageError
from ..core.objective import Objective
from ..core.task import Task
from .cost import alone
from .energy import energy_meter, measure_energy
from .memory import peak_memory
from .ort import check_ort, measure_ort_latency

METERS: dict[str, Callable[[nn.Module, tuple[int, ...]], float]] = {
    "ort_latency_ms": measure_ort_latency,
    "peak_memory_mb": peak_memory,
    "energy_mj": measure_energy,
}
"""Metric -> (network, shape of one input) -> value."""


def measured(
    network: nn.Module, task: Task, objectives: Sequence[Objective]
) -> dict[str, float]:
    """The costs beyond the usual that objectives name, of a network as it lies.

    Time and energy are those of all the passes that a usual sample takes.
    """
    named = dict.fromkeys(o.metric for o in objectives if o.metric in METERS)
    found = {name: METERS[name](network, task.input_shape) for name in named}
    return {n: v if n == "peak_memory_mb" else task.passes * v for n, v in found.items()}


def check_meters(objectives: Sequence[Objective], device: torch.device) -> None:
    """Checks that what objectives name can be measured here, before anything is spent.

    Raises:
        UsageError: A package or a counter is missing.
    """
    named = [o.metric for o in objectives]
    if "ort_latency_ms" in named:
        check_ort()
    if "energy_mj" in named:
        energy_meter(device)


def meters(device: torch.device) -> list[str]:
    """Which of them work here, in words."""
    found = []
    for name in METERS:
        try:
            check_meters([Objective(name, "min")], device)
            found.append(f"{name} yes")
        except UsageError:
            found.append(f"{name} no")
    return found


def how_measured(
    objectives: Sequence[Objective], device: str, workers: int = 1
) -> dict[str, str]:
    """In words how each of the named costs is measured: what, how often, on how many threads.

    Args:
        objectives: That name costs.
        device: Of the run.
        workers: Processes that share the threads while trials are measured.
    """
    threads = torch.get_num_threads()
    on = f"{threads} thread{'' if threads == 1 else 's'}"
    if workers > 1:
        on += f" (in trials {max(1, threads // workers)}, beside {workers - 1} other workers)"
    by = ", in its CPU time" if alone(torch.device("cpu")) else ""
    where = "the GPU's counter" if device == "cuda" else f"RAPL of all packages, {on}"
    words = {
        "latency_ms": f"median of 30 passes of one input in eager PyTorch on {device}, {on}"
        + (by if device == "cpu" else ""),
        "ort_latency_ms": f"median of 30 passes of one input in ONNX Runtime on cpu, {on}{by}",
        "peak_memory_mb": "weights and tensors that live at once in a pass of one input",
        "energy_mj": f"mean of a pass of one input over a second, by {where}, idle power included",
    }
    named = {o.metric for o in objectives}
    return {name: text for name, text in words.items() if name == "latency_ms" or name in named}
