"""GPU kernels executed on the CPU by ptxrun, or skipped where it is not."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nas_domains.core.errors import UsageError
from nas_domains.testing import ptx
from nas_domains.testing.ptx import DEVICE, KERNELS, Launch, played, triton_ops
from tests.conftest import SHARED

__all__ = [
    "DEVICE",
    "KERNELS",
    "Launch",
    "mutant",
    "needs_ptxrun",
    "played",
    "ptxrun",
    "triton_ops",
]

if (SHARED / "ptxrun").is_dir():
    os.environ.setdefault("NAS_DOMAINS_PTXRUN", str(SHARED / "ptxrun"))


def _missing() -> str | None:
    try:
        ptx.ptxrun()
    except UsageError as error:
        return str(error)
    return None


needs_ptxrun = pytest.mark.skipif(_missing() is not None, reason=_missing() or "")


def ptxrun() -> Any:
    """Returns the module ptxrun, or skips the test that asks for it."""
    missing = _missing()
    if missing is not None:
        pytest.skip(missing)
    return ptx.ptxrun()


def mutant(module: ModuleType, text: str, instead: str, folder: Path) -> ModuleType:
    """Returns a copy of a module of kernels with one piece of its text replaced."""
    source = Path(str(module.__file__)).read_text()
    assert source.count(text) == 1, "a mutation changes one place"
    path = folder / f"{module.__name__.rpartition('.')[2]}_mutant.py"
    path.write_text(source.replace(text, instead).replace("from .", "from nas_domains.kernels."))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    changed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(changed)
    return changed
