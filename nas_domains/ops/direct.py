"""Compiled functions that compute on memory, without torch's dispatcher.

A call of an op goes through the dispatcher, which boxes each of some dozens of tensors; with cold
caches that takes longer than a small edge computes. Where nothing needs the dispatcher (the CPU,
plain dense tensors of one dtype, no mode that watches ops, no profiler) the compiled module is
given addresses instead. Everywhere else, and wherever an argument is not as expected, the op runs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .backend import native_module, resolved
from .mixed_edge_reference import BRANCHES, LANES, NAMES, lane_shape

__all__ = [
    "counts_of",
    "edge_backward",
    "edge_forward",
    "move_running",
    "saved_like",
]

_native: Any = native_module()
_HAS = hasattr(_native, "mixed_edge_forward")
_BYTES = {torch.float32: 4, torch.float64: 8}
_PLAIN = frozenset((Tensor, nn.Parameter))
_modes: Any = getattr(torch._C, "_len_torch_dispatch_stack", None)
_profiled: Any = getattr(torch.autograd, "_profiler_enabled", None)
_HAS = _HAS and _modes is not None and _profiled is not None

Problem = tuple[tuple[int, ...], tuple[int, ...], int, int, float, int, int, Any, Any]


def edge_forward(
    x: Tensor,
    w: Tensor,
    params: Sequence[Tensor],
    codes: tuple[int, ...],
    stride: int,
    training: bool,
    eps: float,
    mean: Tensor | None,
    var: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """What the op ``mixed_edge_fwd`` returns, with the maps that the backward needs.

    Args:
        x: As the op has it, like the others.
        w: As there.
        params: As there.
        codes: As there.
        stride: As there.
        training: As there.
        eps: As there.
        mean: As there, where it is not training.
        var: As there.

    Returns:
        None where it cannot be computed here.
    """
    problem = _problem("mixed_edge_fwd", x, w, params, codes, stride, training, eps)
    if problem is None:
        return None
    norms, stages = counts_of(codes)
    batch, channels, height, width = x.shape
    rows = norms if training else 0
    batch_mean, batch_var = x.new_empty((rows, channels)), x.new_empty((rows, channels))
    if training:
        mean, var = batch_mean, batch_var
    if mean is None or var is None or _begins((mean, var), x.dtype, norms * channels) is None:
        return None
    y = torch.empty(
        (batch, channels, -(-height // stride), -(-width // stride)),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    z = saved_like(x, y, stages)
    _native.mixed_edge_forward(
        *problem, mean.data_ptr(), var.data_ptr(), y.data_ptr(), z.data_ptr()
    )
    return y, batch_mean, batch_var, z


def edge_backward(
    g: Tensor,
    x: Tensor,
    w: Tensor,
    params: Sequence[Tensor],
    codes: tuple[int, ...],
    stride: int,
    mean: Tensor,
    var: Tensor,
    training: bool,
    eps: float,
    z: Tensor,
    needs_x: bool,
    needs_w: bool,
    needs_params: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, list[Tensor | None]] | None:
    """The gradients that the op ``mixed_edge_bwd`` returns, None for one that is not wanted.

    Args:
        g: As the op has it, like the others.
        x: As there.
        w: As there.
        params: As there.
        codes: As there.
        stride: As there.
        mean: As there.
        var: As there.
        training: As there.
        eps: As there.
        z: As there.
        needs_x: Whether the gradient of x is wanted.
        needs_w: That of w.
        needs_params: Those of the params.

    Returns:
        None where it cannot be computed here.
    """
    dtype = x.dtype
    if (
        type(g) is not Tensor
        or g.dtype is not dtype
        or not g.is_cpu
        or g.is_neg()
        or not g.is_contiguous(memory_format=torch.channels_last)
        or _begins((mean, var, z), dtype) is None
    ):
        return None
    problem = _problem("mixed_edge_bwd", x, w, params, codes, stride, training, eps)
    if problem is None:
        return None
    dx = torch.empty_like(x, memory_format=torch.channels_last) if needs_x else None
    dw = torch.empty_like(w) if needs_w else None
    dparams = [
        torch.empty_like(p) if needed else None
        for p, needed in zip(params, needs_params, strict=True)
    ]
    _native.mixed_edge_backward(
        *problem,
        mean.data_ptr(),
        var.data_ptr(),
        z.data_ptr(),
        g.data_ptr(),
        0 if dx is None else dx.data_ptr(),
        0 if dw is None else dw.data_ptr(),
        tuple([0 if d is None else d.data_ptr() for d in dparams]),
    )
    return dx, dw, dparams


def move_running(
    means: Sequence[Tensor],
    vars: Sequence[Tensor],
    counts: Sequence[Tensor],
    mean: Tensor,
    var: Tensor,
    momentum: float,
    values: int,
) -> bool:
    """Moves running statistics as ``update_running`` does; whether it could.

    Args:
        means: As there, like the others.
        vars: As there.
        counts: As there.
        mean: As there.
        var: As there.
        momentum: As there.
        values: As there.
    """
    dtype = mean.dtype
    if not _usable("update_running", mean) or _begins((mean, var), dtype) is None:
        return False
    channels = mean.shape[1]
    first, second = _begins(means, dtype, channels), _begins(vars, dtype, channels)
    third = _begins(counts, torch.int64, 1)
    if first is None or second is None or third is None or mean.shape[0] != len(first):
        return False
    _native.update_running(
        _BYTES[dtype], channels, values, momentum, mean.data_ptr(), var.data_ptr(),
        first, second, third,
    )  # fmt: skip
    return True


@functools.cache
def counts_of(codes: tuple[int, ...]) -> tuple[int, int]:
    """The batch norms and the convolution stages of an edge with these branches."""
    table = [BRANCHES[NAMES[code]] for code in codes]
    return sum(b.norms for b in table), sum(b.stages for b in table)


def saved_like(x: Tensor, y: Tensor, stages: int) -> Tensor:
    """Returns an empty tensor for the maps that the backward needs."""
    _, groups, blocks = lane_shape(y)
    return x.new_empty((stages, groups, blocks, y.shape[2] * y.shape[3], LANES))


def _usable(op: str, x: Tensor) -> bool:
    return (
        _HAS
        and x.is_cpu
        and x.dtype in _BYTES
        and type(x) in _PLAIN
        and _modes() == 0
        and not _profiled()
        and resolved(op, "cpu") == "native"
    )


def _problem(
    op: str,
    x: Tensor,
    w: Tensor,
    params: Sequence[Tensor],
    codes: tuple[int, ...],
    stride: int,
    training: bool,
    eps: float,
) -> Problem | None:
    """What both passes are told first; None where something is not as they expect."""
    if not _usable(op, x) or x.is_neg() or not x.is_contiguous(memory_format=torch.channels_last):
        return None
    dtype = x.dtype
    begins = _begins(params, dtype)
    if begins is None or _begins((w,), dtype, len(codes)) is None:
        return None
    sizes = (*x.shape, _BYTES[dtype])
    numbers = tuple([p.numel() for p in params])
    return (
        sizes, codes, stride, int(training), eps, x.data_ptr(), w.data_ptr(), begins, numbers
    )  # fmt: skip


def _begins(
    tensors: Sequence[Tensor], dtype: torch.dtype, numbers: int | None = None
) -> tuple[int, ...] | None:
    """Where dense tensors on the CPU begin; None where one of them is not such, or of others."""
    found = []
    for t in tensors:
        if t.dtype is not dtype or type(t) not in _PLAIN or not t.is_cpu:
            return None
        if not t.is_contiguous() or t.is_neg() or (numbers is not None and t.numel() != numbers):
            return None
        found.append(t.data_ptr())
    return tuple(found)
