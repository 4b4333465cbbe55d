"""What nvcc and ptxas tell of the CUDA C++ kernels."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from nas_domains.core.errors import UsageError
from nas_domains.testing.cuda import (
    CSRC,
    FLAGS,
    Bank,
    bank,
    compile_ptx,
    geometry,
    instances,
    nvcc,
    run,
)

__all__ = [
    "CSRC",
    "FLAGS",
    "Bank",
    "bank",
    "compile_ptx",
    "geometry",
    "instances",
    "needs_nvcc",
    "run",
]

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
# As torch's own build of extensions sets them.
HOST_FLAGS = [
    "-DUSE_CUDA",
    "-DTORCH_TARGET_VERSION=0x020b000000000000",
    "-D__CUDA_NO_HALF_OPERATORS__",
    "-D__CUDA_NO_HALF_CONVERSIONS__",
    "-D__CUDA_NO_BFLOAT16_CONVERSIONS__",
    "-D__CUDA_NO_HALF2_OPERATORS__",
    "-Xcompiler",
    "-fPIC",
]


def _missing() -> str | None:
    try:
        nvcc()
    except UsageError as error:
        return str(error)
    return None


needs_nvcc = pytest.mark.skipif(_missing() is not None, reason=_missing() or "")


def usage(text: str) -> dict[str, tuple[int, int]]:
    """Returns kernel -> (registers, bytes of stack and spills) of what ``ptxas -v`` prints."""
    pattern = (
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers"
    )
    rows = re.findall(pattern, text, re.DOTALL)
    return {name: (int(used), sum(map(int, spills))) for name, *spills, used in rows}


def ptxas(ptx: Path, architecture: str) -> dict[str, tuple[int, int]]:
    """Returns the usage of the kernels of a PTX file on an architecture."""
    tool = Path(nvcc()).resolve().parent / "ptxas"
    path = tool if tool.exists() else shutil.which("ptxas")
    if path is None:
        pytest.skip("registers and spills are ptxas' to tell")
    return usage(run(path, "-v", f"-arch={architecture}", ptx, "-o", os.devnull))
