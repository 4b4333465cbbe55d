"""Timing of variants side by side: one sample of each in turn, so all meet the same machine."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from nas_domains import ops
from nas_domains.version import __version__

__all__ = ["Row", "compare", "copy_rate", "header"]


@dataclass(frozen=True)
class Row:
    """Times of one variant, in seconds.

    Attributes:
        variant: its name.
        minimum: the fastest sample.
        median: the median sample.
        ratio: the median of the first variant over that of this one: above 1 is faster than it.
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
        variants: name to a call; the first is the one that ratios refer to.
        rounds: samples of each variant, at least 1.
        warmup: calls of each variant before the first sample.
        device: ``cuda`` waits for the device before and after each sample.

    Returns:
        One row for each variant, in order.

    Raises:
        ValueError: if `rounds` is below 1 or there is no variant.
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
    """Returns the bytes a second (read and written) of the fastest copy of `size` bytes."""
    a = torch.ones(max(size // 4, 1), device=device)
    b = torch.empty_like(a)
    row = compare({"copy": lambda: b.copy_(a)}, rounds, device=device)[0]
    return 2 * a.numel() * 4 / row.minimum


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
        return names[0].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def header(device: str = "cpu") -> dict[str, Any]:
    """Returns what a reader needs to judge a time: machine, versions, threads, load, date."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "nas_domains": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "isa": ops.info()["isa"],
        "backends": ops.active(device),
    }
