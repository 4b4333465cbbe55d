"""What ``nas-domains doctor`` says."""

import torch

from ..core.registry import Registry, spaces, strategies, tasks
from ..ops import info
from .environment import PACKAGES, describe_environment
from .meters import meters


def diagnose() -> list[str]:
    """Lines on what is compiled, which backend runs where, devices and packages."""
    found = info()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    environment = describe_environment(device)
    native = "native" in found["available"]
    lines = [
        f"nas_domains {environment['nas_domains']}, Python {environment['python']}, "
        f"{environment['platform']}",
        f"device: {environment['device']} ({environment['cpu']}, {environment['cores']} cores, "
        f"{environment['threads']} threads)",
        "compiled kernels: "
        + (
            f"yes, instruction set {found['isa']} of {', '.join(found['isas'])}"
            if native
            else "no, ops run on the PyTorch reference; install a C++ compiler and reinstall"
        ),
        f"triton: {'yes' if found['triton'] else 'no'}",
        f"backend asked for: {found['choice']}; available: {', '.join(found['available'])}",
    ]
    for kind, ops in found["ops"].items():
        if kind == device or kind == "cpu":
            lines.append(f"ops on {kind}: " + ", ".join(f"{o} {b}" for o, b in ops.items()))
    lines.append("meters: " + ", ".join(meters(torch.device(device))))
    versions = environment["packages"]
    lines.append("packages: " + ", ".join(f"{n} {versions[n] or 'missing'}" for n in PACKAGES))
    registries: list[Registry] = [spaces, strategies, tasks]
    for entries in registries:
        for entry in entries:
            if entry.missing:
                lines.append(f"{entries.kind} {entry.name}: needs [{entry.extra}]")
    return lines
