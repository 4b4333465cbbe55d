"""What a run was made with: machine, versions, threads."""

import importlib.metadata
import os
import platform
from typing import Any

import torch

from ..ops import info

PACKAGES = (
    "accelerate",
    "numpy",
    "safetensors",
    "scikit-learn",
    "torch",
    "torchmetrics",
    "triton",
)


def describe_environment(device: str) -> dict[str, Any]:
    """Machine, versions and threads, JSON-able.

    Args:
        device: "cpu" or "cuda".
    """
    from ..version import __version__

    return {
        "nas_domains": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "packages": {name: _version(name) for name in PACKAGES},
        "ops": info()["ops"]["cuda" if device == "cuda" else "cpu"],
        "isa": info()["isa"],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        return names[0] if names else platform.processor()
    except OSError:
        return platform.processor()
