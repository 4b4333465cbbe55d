"""Time and memory of variants side by side, one sample of each in turn on the same machine."""

from __future__ import annotations

import datetime
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from ..hardware.environment import describe_environment
from ..ops.backend import native_module

__all__ = ["Row", "arithmetic_rate", "compare", "copy_rate", "header", "peak_bytes"]


@dataclass(frozen=True)
class Row:
    """Times of one variant, in seconds.

    Attributes:
        variant: Its name.
        minimum: The fastest sample.
        median: The median sample.
        ratio: The median of the first variant over that of this one: above 1 is faster than it.
    """

    variant: str
    minimum: float
    median: float
    ratio: float


def compare(
    variants: dict[str, Callable[[], object]], rounds: int, warmup: int = 3, device: str = "cpu"
) -> list[Row]:
    """Times variants in turn: each round takes one sample of each.

    Args:
        variants: Name to a call; the first is the one that ratios refer to.
        rounds: Samples of each variant, at least 1.
        warmup: Calls of each variant before the first sample.
        device: ``cuda`` waits for the device before and after each sample.

    Returns:
        One row for each variant, in order.

    Raises:
        ValueError: If ``rounds`` is below 1 or there is no variant.
    """
    if rounds < 1 or not variants:
        raise ValueError(f"compare got rounds={rounds}; give it 1 round and 1 variant at least.")
    wait: Callable[[], object] = torch.cuda.synchronize if device == "cuda" else lambda: None
    for call in variants.values():
        for _ in range(warmup):
            call()
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            wait()
            start = time.perf_counter()
            call()
            wait()
            samples[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in samples.items()}
    base = next(iter(medians.values()))
    return [
        Row(name, min(times), medians[name], base / medians[name])
        for name, times in samples.items()
    ]


def copy_rate(size: int, device: str = "cpu", rounds: int = 20) -> float:
    """Returns the bytes a second (read and written) of the fastest copy of ``size`` bytes."""
    a = torch.ones(max(size // 4, 1), device=device)
    b = torch.empty_like(a)
    row = compare({"copy": lambda: b.copy_(a)}, rounds, device=device)[0]
    return 2 * a.numel() * 4 / row.minimum


def arithmetic_rate(device: str = "cpu", rounds: int = 20) -> float:
    """Returns the float32 operations a second that a kernel can do at most.

    The faster of a large matrix product by torch and, on the CPU with compiled kernels,
    multiplications and additions in registers: torch's product uses no AVX-512 on some CPUs that
    have it, and is then no bound of anything.
    """
    n = 1024 if device == "cpu" else 8192
    a = torch.randn(n, n, device=device)
    product = 2 * n**3 / compare({"mm": lambda: a @ a}, rounds, device=device)[0].minimum
    native = native_module()
    if device != "cpu" or native is None:
        return product
    operations: int = native.multiply_adds(1)
    count = 1_000_000
    row = compare({"registers": lambda: native.multiply_adds(count)}, rounds)[0]
    return max(product, count * operations / row.minimum)


def peak_bytes(call: Callable[[], object], device: str = "cpu") -> int:
    """Returns the most memory that a call holds at one time, beyond what was held before it.

    Args:
        call: What is measured, once; warm, or what it keeps for later counts too.
        device: Whose memory counts, ``cpu`` or ``cuda``: tensors as torch's allocator gives them
            out, the result included. What our kernels return in memory of their own is counted
            apart, and added at its own peak.
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    # The profiler greets on stderr each time; read when it first starts.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    native = native_module()
    maps_before = native.map_bytes()[0] if native else 0
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    maps = native.map_bytes()[1] - maps_before if native else 0
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [event for event in events if event["name"] == "[memory]"]
    held = most = 0
    for change in sorted(changes, key=lambda event: float(event["ts"])):
        held += change["args"]["Bytes"]
        most = max(most, held)
    return most + maps


def header(device: str = "cpu") -> dict[str, Any]:
    """Returns what a reader needs to judge a time: date, load, machine, versions, threads."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        **describe_environment(device),
    }
