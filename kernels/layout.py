"""Memory layouts, as the kernels and references of the ops agree on them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["computing_dtype", "matched"]


def matched(x: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Returns ``x`` with the strides of the dense tensor ``like``: itself if nothing differs.

    Args:
        x: A tensor.
        like: A dense tensor of the same shape, as ``torch.empty_like`` makes them.
        dtype: The result's dtype, by default that of ``x``.

    Raises:
        RuntimeError: ``x`` has another shape, for which a kernel would read past its end.
    """
    if x.shape != like.shape:
        raise RuntimeError("An op needs tensors of one shape.")
    dtype = dtype or x.dtype
    same = all(
        size < 2 or a == b for size, a, b in zip(x.shape, x.stride(), like.stride(), strict=True)
    )
    return x if same and x.dtype == dtype else torch.empty_like(like, dtype=dtype).copy_(x)


def computing_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype an op computes in: float32 for the half types, else ``dtype`` itself."""
    return torch.promote_types(dtype, torch.float32)
