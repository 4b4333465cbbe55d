"""What the host functions of all Triton kernels share."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import triton.language as tl
from torch import Tensor

__all__ = ["acc", "on"]


def on(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device; interpreted kernels need none."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def acc(x: Tensor) -> tl.dtype:
    """Returns the type that kernels compute in."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32
