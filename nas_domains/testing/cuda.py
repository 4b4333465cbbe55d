"""CUDA C++ kernels without a GPU: compiled by nvcc, launched with their own geometry under ptxrun.

Needs a source checkout, nvcc and a C++ compiler.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import UsageError
from ..ops import depthwise_bank
from .ptx import ptxrun

__all__ = [
    "CSRC",
    "FLAGS",
    "Bank",
    "bank",
    "compile_ptx",
    "geometry",
    "instances",
    "nvcc",
    "played_bank",
    "run",
]

CSRC = Path(__file__).parents[2] / "csrc" / "cuda"
FLAGS = ["-std=c++20", "-O3", "-lineinfo"]
TYPES = {
    torch.float32: ("float", "f"),
    torch.float64: ("double", "d"),
    torch.float16: ("__half", "6__half"),
    torch.bfloat16: ("__nv_bfloat16", "13__nv_bfloat16"),
}
"""Dtype -> its C++ type, and that type in a mangled name."""

FWD = """
#include "depthwise_bank_fwd.cuh"
#define NAS_ONE(T, S) template __global__ void nas::bank::depthwise_bank_fwd<T, S>( \\
    const T*, const nas::Real<T>*, const nas::Real<T>*, const nas::bank::Branches, \\
    const nas::bank::Plan, bool, T*, T*);
"""
BWD = """
#include "depthwise_bank_bwd.cuh"
#define NAS_ONE(T, S) template __global__ void nas::bank::depthwise_bank_bwd<T, S>( \\
    const nas::bank::Gradients<T>, const nas::bank::Branches, const nas::bank::Plan);
"""
SUM = """
#define NAS_SUM(T) template __global__ void nas::bank::depthwise_bank_sum<T>( \\
    const T*, int64_t, int64_t, int64_t, T*, T*);
"""


def nvcc() -> str:
    """Returns the path of nvcc.

    Raises:
        UsageError: There is none.
    """
    beside = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / "nvcc"
    found = shutil.which("nvcc") or (str(beside) if beside.exists() else None)
    if found is None:
        raise UsageError(
            "Compiling the CUDA kernels needs nvcc: install a CUDA toolkit, or name its folder in "
            "CUDA_HOME."
        )
    return found


def run(*command: str | Path) -> str:
    """Returns what a command prints.

    Raises:
        UsageError: It fails.
    """
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError as error:
        raise UsageError(f"{command[0]} cannot be run ({error}); install it.") from None
    if done.returncode != 0:
        raise UsageError(f"{command[0]} fails: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def instances(kind: str, dtypes: Sequence[torch.dtype], strides: Sequence[int] = (1, 2)) -> str:
    """Returns a source that instantiates the kernels of "fwd" or "bwd"."""
    names = [TYPES[dtype][0] for dtype in dtypes]
    lines = [f"NAS_ONE({name}, {stride})" for name in names for stride in strides]
    if kind == "fwd":
        return "\n".join([FWD, *lines])
    reals = {"double" if name == "double" else "float" for name in names}
    return "\n".join([BWD, SUM, *lines, *(f"NAS_SUM({real})" for real in sorted(reals))])


def compile_ptx(source: str, folder: Path, include: Path = CSRC) -> Path:
    """Returns the PTX of a source, for sm_80."""
    path = folder / "kernels.cu"
    path.write_text(source)
    out = path.with_suffix(".ptx")
    run(nvcc(), *FLAGS, f"-I{include}", "-ptx", "-arch=sm_80", path, "-o", out)
    return out


@dataclass
class Bank:
    """The depthwise bank's ops on CPU tensors, played by ptxrun with their own geometry.

    Attributes:
        geometry: The library of ``depthwise_bank_geometry.cpp``.
        modules: "fwd" and "bwd" -> a module of ptxrun.
        options: Of ptxrun's launch.
        launches: Kernel -> counts of its last launch.
        history: (kernel, counts) of every launch.
    """

    geometry: ctypes.CDLL
    modules: dict[str, Any]
    options: dict[str, Any] = field(default_factory=lambda: {"strict": True})
    launches: dict[str, Any] = field(default_factory=dict)
    history: list[tuple[str, Any]] = field(default_factory=list)

    def _plan(self, backward: bool, x: Tensor, branches: Any, stride: int, pools: bool) -> Any:
        plan = ctypes.create_string_buffer(self.geometry.size_of_plan())
        size = [ctypes.c_int(n) for n in x.shape[1:]]
        self.geometry.make_plan(
            plan, backward, ctypes.c_int64(x.shape[0]), *size, stride, x.element_size(), branches,
            pools,
        )  # fmt: skip
        assert self.geometry.shared(plan) <= self.geometry.most_shared()
        return plan

    def _branches(self, weights: Sequence[Tensor], dilations: Sequence[int]) -> Any:
        branches = ctypes.create_string_buffer(self.geometry.size_of_branches())
        for weight, dilation in zip(weights, dilations, strict=True):
            at = ctypes.c_void_p(weight.data_ptr())
            self.geometry.add_branch(branches, at, weight.shape[-1], dilation)
        return branches

    def _launch(self, kind: str, name: str, grid: int, args: Any, **options: Any) -> None:
        module = self.modules[kind]
        kernel = next(found for found in module.kernels if name in found)
        options = self.options | options
        threads = self.geometry.threads()
        self.launches[kind] = module.launch(kernel, grid, threads, args, **options)
        self.history.append((name.partition("I")[0], self.launches[kind]))

    def fwd(
        self,
        x: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        weights: list[Tensor],
        dilations: list[int],
        stride: int,
        pools: bool,
    ) -> tuple[Tensor, Tensor]:
        """The op ``depthwise_bank_fwd``."""
        fake = depthwise_bank._fwd_fake(x, scale, bias, weights, dilations, stride, pools)
        d, p = (poisoned(out) for out in fake)
        branches = self._branches(weights, dilations)
        plan = self._plan(False, x, branches, stride, pools)
        memory = [buffer(t) for t in (x, scale, bias)]
        self._launch(
            "fwd",
            f"depthwise_bank_fwdI{TYPES[x.dtype][1]}Li{stride}E",
            self.geometry.blocks(plan),
            [*memory, branches.raw, plan.raw, int(pools), buffer(d), buffer(p)],
            shared=self.geometry.shared(plan),
            buffers=weights,
            readonly=[t for t in (*memory, *weights) if t is not None],
        )
        return d, p

    def bwd(
        self,
        da: Tensor,
        x: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        weights: list[Tensor],
        dilations: list[int],
        stride: int,
        g: Tensor | None,
        coefficients: Tensor | None,
        needs_dx: bool,
        needs_dweights: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The op ``depthwise_bank_bwd``."""
        outs = depthwise_bank._bwd_fake(
            da, x, scale, bias, weights, dilations, stride, g, coefficients, needs_dx,
            needs_dweights,
        )  # fmt: skip
        dx, dweights, sums = (poisoned(out) for out in outs)
        branches = self._branches(weights, dilations)
        plan = self._plan(True, x, branches, stride, g is not None and needs_dx)
        tiles, rows = self.geometry.tiles(plan), len(dweights) + len(sums)
        partial = poisoned(sums.new_empty(tiles, rows, x.shape[1]))
        inputs = [buffer(t) for t in (da, x, scale, bias, g, coefficients)]
        outputs = [buffer(t) for t in (dx, partial)]
        pointers = [0 if t is None else t.data_ptr() for t in (*inputs, *outputs)]
        given = [t for t in (*inputs, *weights) if t is not None]
        self._launch(
            "bwd",
            f"depthwise_bank_bwdI{TYPES[x.dtype][1]}Li{stride}E",
            self.geometry.blocks(plan),
            [struct.pack("<8Qi??2x", *pointers, rows, needs_dx, needs_dweights), branches.raw,
             plan.raw],
            shared=self.geometry.shared(plan),
            buffers=[*given, *(t for t in outputs if t is not None)],
            readonly=given,
        )  # fmt: skip
        if rows:
            columns = rows * x.shape[1]
            real = TYPES[sums.dtype][1]
            before = self.launches["bwd"]
            self._launch(
                "bwd",
                f"depthwise_bank_sumI{real}E",
                self.geometry.blocks_of_sum(columns),
                [partial, tiles, columns, dweights.numel(), buffer(dweights), buffer(sums)],
                readonly=[partial],
            )
            self.launches |= {"sum": self.launches["bwd"], "bwd": before}
        return dx, dweights, sums


def poisoned(x: Tensor) -> Tensor:
    """x filled with NaN, where a kernel that writes too little leaves it."""
    return x.fill_(torch.nan)


def buffer(x: Tensor | None) -> Tensor | None:
    """The memory of a dense tensor in its own order; None for none."""
    if x is None or x.numel() == 0:
        return None
    last = sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
    assert last + 1 == x.numel()
    return x.as_strided((last + 1,), (1,))


def geometry(folder: Path) -> ctypes.CDLL:
    """Returns the library of ``depthwise_bank_geometry.cpp``."""
    out = folder / "geometry.so"
    source = CSRC / "depthwise_bank_geometry.cpp"
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    run(*compiler, "-std=c++20", "-O1", "-shared", "-fPIC", source, "-o", out)
    library = ctypes.CDLL(str(out))
    for name in ("size_of_plan", "size_of_branches", "threads", "most_shared", "shared", "tiles",
                 "blocks", "blocks_of_sum"):  # fmt: skip
        getattr(library, name).restype = ctypes.c_int64
    library.blocks_of_sum.argtypes = [ctypes.c_int64]
    return library


def bank(fwd: Path | None, bwd: Path | None, library: ctypes.CDLL) -> Bank:
    """Returns the ops of the kernels in two PTX files."""
    paths = {"fwd": fwd, "bwd": bwd}
    module = ptxrun().Module
    return Bank(library, {k: module(p.read_text()) for k, p in paths.items() if p is not None})


@contextmanager
def played_bank(player: Bank) -> Iterator[Bank]:
    """Runs the ops ``depthwise_bank_fwd`` and ``_bwd`` on CPU tensors by a player."""
    library: Any = torch.library.Library  # untyped in torch
    override = library("nas_domains", "IMPL")
    try:
        override.impl("depthwise_bank_fwd", player.fwd, "CPU")
        override.impl("depthwise_bank_bwd", player.bwd, "CPU")
        yield player
    finally:
        override._destroy()
