"""GPU kernels without a GPU: host functions, on CPU tensors, whose launches ptxrun executes.

ptxrun runs PTX on the CPU, checks every access, and counts bytes and sectors. It is no part of
this package: the variable ``NAS_DOMAINS_PTXRUN`` names the folder with its ``ptxrun.py``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from .. import ops
from ..core.errors import UsageError

__all__ = ["DEVICE", "KERNELS", "Launch", "played", "ptxrun", "triton_ops"]

DEVICE = -80  # no number of a real device: compiled kernels are cached by it
KERNELS: dict[str, Any] = {}
"""(source, metadata) of each Triton kernel compiled so far, by a hash of both."""


def ptxrun() -> Any:
    """Returns the module ptxrun.

    Raises:
        UsageError: It is not here.
    """
    folder = os.environ.get("NAS_DOMAINS_PTXRUN")
    if folder is None or not (Path(folder) / "ptxrun.py").is_file():
        raise UsageError(
            "NAS_DOMAINS_PTXRUN names no folder with ptxrun.py, which executes the GPU kernels "
            "where no GPU is; set it to that folder."
        )
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("ptxrun")


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel.

    Attributes:
        name: The kernel's name.
        kernel: Its key in ``KERNELS``.
        counts: What ptxrun counted; see its README.
    """

    name: str
    kernel: str
    counts: Any

    @property
    def moved(self) -> int:
        """Bytes of all sectors that loads and stores touch."""
        return 32 * int(self.counts.gld_sectors + self.counts.gst_sectors)

    @property
    def asked(self) -> int:
        """Bytes that the kernel asks to load and store."""
        return int(self.counts.gld_bytes + self.counts.gst_bytes)


class _Driver:
    """What Triton asks of a GPU's driver, for an sm_80 that ptxrun plays."""

    def __init__(self, order: str, options: dict[str, Any]) -> None:
        self.runner, self.options = ptxrun(), {"strict": True, "order": order} | options
        self.launches: list[Launch] = []
        self.loading: list[Path] = []
        self.utils = SimpleNamespace(
            load_binary=self._load,
            unload_module=lambda module: None,
            get_device_properties=lambda device: {"max_shared_mem": 166912},
        )

    def get_current_device(self) -> int:
        return DEVICE

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 80, 32)

    def note(self, *args: Any, **kwargs: Any) -> None:
        """Hook before a kernel is loaded: Triton passes on its binary only."""
        group = kwargs.get("metadata_group") or args[3]
        self.loading.append(next(Path(p) for name, p in group.items() if name.endswith(".ptx")))

    def _load(self, name: str, kernel: bytes, shared: int, device: int) -> tuple[Any, ...]:
        module = self.runner.Module(self.loading.pop().read_text())
        return module, module, 0, 0, 1024

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        KERNELS[metadata.hash] = source, metadata
        types = tuple(source.signature.values())

        def launch(x: int, y: int, z: int, _stream: int, module: Any, *rest: Any) -> None:
            args = _buffers(list(_runtime(types, rest[4:])))
            now = _active()  # the kernel may outlive the driver that loaded it
            options = now.options | {"shared": metadata.shared}
            counts = module.launch(metadata.name, (x, y, z), None, args, **options)
            now.launches.append(Launch(metadata.name, metadata.hash, counts))

        return launch


def _active() -> Any:
    from triton.runtime.driver import driver

    return driver.active


def _runtime(types: Any, values: Any) -> Iterator[Any]:
    """Yields the arguments that are not constants of the compiler, those of tuples one by one."""
    for kind, value in zip(types, values, strict=True):
        if isinstance(kind, tuple):
            yield from _runtime(kind, value)
        elif kind != "constexpr":
            yield value


def _buffers(args: list[Any]) -> list[Any]:
    """Tensors as the memory from first to last element, as parts of one where they share it."""
    pointers = Counter(a.untyped_storage().data_ptr() for a in args if _is(a))

    def buffer(t: torch.Tensor) -> Any:
        storage = t.untyped_storage()
        if pointers[storage.data_ptr()] == 1:
            last = sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True))
            return t.as_strided((last + 1,), (1,)) if t.numel() else None
        whole = torch.empty(0, dtype=torch.uint8).set_(storage)
        return ptxrun().Ref(whole, t.data_ptr() - storage.data_ptr())

    return [buffer(a) if _is(a) else a for a in args]


def _is(arg: object) -> bool:
    return isinstance(arg, torch.Tensor)


@contextmanager
def played(order: str = "forward", **options: Any) -> Iterator[Any]:
    """Runs Triton kernels on CPU tensors under ptxrun, where a race or a stray access raises.

    Args:
        order: Of the blocks and warps: forward, reverse or random.
        options: Of ptxrun's ``Module.launch``.

    Yields:
        The driver, whose ``launches`` grows with each launch.
    """
    from triton import knobs
    from triton.runtime.driver import driver

    play, before = _Driver(order, options), driver._active
    knobs.runtime.kernel_load_start_hook.add(play.note)
    driver.set_active(play)
    try:
        yield play
    finally:
        driver._active = before
        knobs.runtime.kernel_load_start_hook.remove(play.note)


@contextmanager
def triton_ops(order: str = "forward", **options: Any) -> Iterator[Any]:
    """``played``, with the Triton kernels behind all ops that have them."""
    # Interpreted or played, the kernels run on CPU tensors.
    backend: Any = importlib.import_module("nas_domains.ops.backend")  # also a function's name
    interpreted, backend._interpreted = backend._interpreted, lambda: True
    try:
        with played(order, **options) as play, ops.backend("triton"):
            yield play
    finally:
        backend._interpreted = interpreted
