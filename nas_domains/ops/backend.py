"""Which implementation of an op runs: the compiled kernels, Triton, or the PyTorch reference.

``NAS_DOMAINS_BACKEND``, read when ``nas_domains.ops`` is imported, chooses:

* ``auto`` (default): for each op and device the compiled kernel, else the Triton kernel (on a
  GPU), else the reference. ``info`` and ``nas-domains doctor`` say which.
* ``native``: the compiled kernels; an error if they were not built. An op that has no CUDA C++
  kernel then refuses CUDA tensors.
* ``triton``: the Triton kernels on a GPU (on the CPU too under ``TRITON_INTERPRET=1``, for tests);
  an error if Triton is missing or there is nothing to run it on. CPU tensors otherwise run as in
  ``auto``.
* ``reference``: plain PyTorch everywhere.

``NAS_DOMAINS_ISA`` names the instruction set of the compiled CPU kernels, by default the best that
the CPU has.

The choice holds for the whole process: it is made in torch's dispatcher, where a compiled graph
finds it too and a call pays nothing for it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from ..core.errors import UsageError

__all__ = [
    "active",
    "available",
    "backend",
    "choice",
    "define",
    "host_function",
    "info",
    "native_module",
    "resolved",
]

BACKENDS = ("auto", "native", "triton", "reference")
_DEVICES = {"cpu": "CPU", "cuda": "CUDA"}


@dataclass(frozen=True)
class _Op:
    reference: Callable[..., Any]
    triton: str | None
    native: frozenset[str]  # device types with a compiled kernel


def _library(kind: str) -> Any:
    library: Any = torch.library.Library  # untyped in torch
    return library("nas_domains", kind)


_ops: dict[str, _Op] = {}
_resolved: dict[tuple[str, str], str] = {}  # of the present choice
_base: Any = _library("FRAGMENT")
_override: Any = None
_choice = "auto"


def _load_native() -> ModuleType | None:
    try:
        module = importlib.import_module("nas_domains._C")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "nas_domains._C":
            return None
        raise UsageError(
            f"The compiled module nas_domains._C does not load with torch {torch.__version__}; "
            "reinstall nas_domains beside this torch with `pip install --no-build-isolation`."
        ) from error
    isa = os.environ.get("NAS_DOMAINS_ISA")
    if isa is not None:
        if isa not in module.supported_isas():
            known = ", ".join(module.supported_isas())
            raise UsageError(f"NAS_DOMAINS_ISA is {isa!r}; use one of {known} on this machine.")
        module.set_isa(isa)
    return module


_native = _load_native()


def native_module() -> ModuleType | None:
    """Returns the compiled module ``nas_domains._C``, or None if it was not built."""
    return _native


def release_memory() -> None:
    """Gives back the memory that CPU kernels keep for the next large tensors of their sizes."""
    if _native is not None:
        _native.release_maps()


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def available() -> list[str]:
    """Returns the backends that can be asked for here, of native, triton and reference."""
    return [name for name in BACKENDS[1:] if _missing(name) is None]


def _missing(name: str) -> str | None:
    """Returns what backend ``name`` lacks here and what to do about it, or None."""
    if name == "native" and _native is None:
        return "the compiled module nas_domains._C; reinstall with a C++ compiler, or use auto"
    if name == "triton":
        if not _has_triton():
            return "the package triton; install nas_domains[triton], or use auto"
        if not (_interpreted() or torch.cuda.is_available()):
            return "a GPU; set TRITON_INTERPRET=1 to interpret its kernels on the CPU, or use auto"
    return None


def choice() -> str:
    """Returns the backend asked for: auto, native, triton or reference."""
    return _choice


def active(device: str | torch.device = "cpu") -> dict[str, str]:
    """Returns, for each registered op, the backend that runs it on ``device``.

    Args:
        device: A device or its type; only the type counts.

    Returns:
        Op name (such as ``weighted_sum_fwd``) to ``native``, ``triton``, ``reference`` or
        ``none``, where ``none`` means that the op refuses this device under the backend asked for.
    """
    kind = torch.device(device).type
    return {name: _resolve(op, kind) for name, op in _ops.items()}


def resolved(name: str, device: str) -> str:
    """Returns the backend that runs one op on a device type, as ``active`` does for all."""
    key = name, device
    found = _resolved.get(key)
    if found is None:
        found = _resolved[key] = _resolve(_ops[name], device)
    return found


def info() -> dict[str, Any]:
    """Returns what ``nas-domains doctor`` prints about the ops.

    Returns:
        ``choice`` (the backend asked for), ``available``, ``isa`` and ``isas`` (the CPU
        instruction set in use and those supported; None and [] without compiled kernels),
        ``triton`` (importable or not) and ``ops`` (device type to the result of ``active``).
    """
    return {
        "choice": _choice,
        "available": available(),
        "isa": _native.isa() if _native else None,
        "isas": _native.supported_isas() if _native else [],
        "triton": _has_triton(),
        "ops": {kind: active(kind) for kind in _DEVICES},
    }


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Runs the ops on backend ``name`` inside a ``with`` block, for tests and benchmarks.

    The change is seen by all threads. A backward runs on the backend of its forward, or refuses
    where it cannot read what that kept.

    Args:
        name: One of auto, native, triton and reference.

    Raises:
        UsageError: There is no such backend, or it is missing here.
    """
    before = _choice
    _use(name, "The backend")
    try:
        yield
    finally:
        _use(before, "The backend")


def define(
    name: str,
    schema: str,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    triton: str | None = None,
) -> None:
    """Registers the op ``nas_domains::<name>``; called once by each file of ``nas_domains.ops``.

    Args:
        name: The op's name, such as ``weighted_sum_fwd``.
        schema: Its arguments and results, in torch's schema language.
        reference: The op in plain PyTorch, for every device.
        fake: The op's shapes, dtypes and strides, as in ``torch.library.register_fake``.
        triton: ``module:function`` of its Triton host function, imported when first called.
    """
    qualname = f"nas_domains::{name}"
    torch.library.define(qualname, schema)
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    native = frozenset(kind for kind, key in _DEVICES.items() if has_kernel(qualname, key))
    _base.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(qualname, fake)
    op = _ops[name] = _Op(reference, triton, native)
    if _resolve(op, "cuda", "auto") == "triton":
        _base.impl(name, _triton_call(name), "CUDA")
    if _choice != "auto":
        _apply(name, op)


def _resolve(op: _Op, kind: str, asked: str | None = None) -> str:
    """Returns the backend that runs ``op`` on device type ``kind``."""
    asked = asked or _choice
    if asked == "reference" or kind not in _DEVICES:
        return "reference"
    if asked != "triton" and kind in op.native:
        return "native"
    if asked == "native" and kind == "cuda":
        return "none"
    can_triton = op.triton is not None and _has_triton() and (kind == "cuda" or _interpreted())
    # The interpreter is for tests that ask for it, never an automatic choice for CPU tensors.
    if can_triton and (asked == "triton" or kind == "cuda"):
        return "triton"
    return "native" if kind in op.native else "reference"


def host_function(name: str) -> Callable[..., Any] | None:
    """Returns the host function of an op's Triton kernels, or None if it has none."""
    op = _ops[name]
    if op.triton is None:
        return None
    module, function = op.triton.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _triton_call(name: str) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        host = host_function(name)  # imported by the first call
        assert host is not None
        return host(*args)

    return call


def _refuse(name: str) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        raise UsageError(
            f"nas_domains::{name} has no native CUDA kernel; use the backend auto or triton."
        )

    return call


def _apply(name: str, op: _Op) -> None:
    """Overrides the kernels of one op wherever the choice differs from auto."""
    for kind, key in _DEVICES.items():
        wanted = _resolve(op, kind)
        if wanted == _resolve(op, kind, "auto"):
            continue
        kernel = {
            "reference": lambda: op.reference,
            "triton": lambda: _triton_call(name),
            "none": lambda: _refuse(name),
        }[wanted]()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(?s).*Overriding a previously registered")
            _override.impl(name, kernel, key, allow_override=True)


def _use(name: str, source: str) -> None:
    global _choice, _override
    if name not in BACKENDS:
        raise UsageError(f"{source} is {name!r}; use one of {', '.join(BACKENDS)}.")
    missing = _missing(name)
    if missing is not None:
        raise UsageError(f"{source} is {name}, which needs {missing}.")
    if _override is not None:
        _override._destroy()  # brings back the kernels that it hid
        _override = None
    _choice = name
    _resolved.clear()
    if name != "auto":
        _override = _library("IMPL")
        for op_name, op in _ops.items():
            _apply(op_name, op)


_use(os.environ.get("NAS_DOMAINS_BACKEND", "auto"), "NAS_DOMAINS_BACKEND")
