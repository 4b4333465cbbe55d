"""Compiled functions that compute on memory, without torch's dispatcher.

A call of an op goes through the dispatcher, which boxes each of some dozens of tensors; with cold
caches that takes longer than a small edge computes. Where nothing needs the dispatcher (the CPU,
plain dense tensors of one dtype, no mode that watches ops, no profiler) the compiled module is
given addresses instead. Everywhere else, and wherever an argument is not as expected, the op runs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .backend import choice, native_module
from .mixed_edge_reference import BRANCHES, LANES, NAMES, lane_shape

__all__ = [
    "Dense",
    "counts_of",
    "dense",
    "edge_backward",
    "edge_forward",
    "lie_as",
    "move_running",
    "saved_like",
]

_native: Any = native_module()
_BYTES = {torch.float32: 4, torch.float64: 8}
_PLAIN = frozenset((Tensor, nn.Parameter))
_COMPILED = frozenset(("auto", "native"))
_modes: Any = getattr(torch._C, "_len_torch_dispatch_stack", None)
_profiled: Any = getattr(torch.autograd, "_profiler_enabled", None)
_HAS = hasattr(_native, "addresses") and _modes is not None and _profiled is not None


@dataclass(frozen=True)
class Dense:
    """Where tensors lie on the CPU, each of them plain, dense and of one dtype.

    Attributes:
        begins: Their addresses.
        numbers: How many numbers lie at each.
    """

    begins: tuple[int, ...]
    numbers: tuple[int, ...]


def dense(tensors: Sequence[Tensor], dtype: torch.dtype) -> Dense | None:
    """Where tensors lie; None where one of them is not as :class:`Dense` says, or nothing asks.

    Args:
        tensors: Any.
        dtype: That all should have.
    """
    if not _HAS:
        return None
    for t in tensors:
        if t.dtype is not dtype or type(t) not in _PLAIN or not t.is_cpu:
            return None
        if not t.is_contiguous() or t.is_neg():
            return None
    return Dense(_native.addresses(tensors), tuple([t.numel() for t in tensors]))


def lie_as(tensors: Sequence[Tensor], known: Dense | None) -> bool:
    """Whether tensors begin where others did that were dense."""
    return known is not None and _native.addresses(tensors) == known.begins


def edge_forward(
    x: Tensor,
    w: Tensor,
    params: Dense | None,
    codes: tuple[int, ...],
    stride: int,
    mean: Tensor | None,
    var: Tensor | None,
    training: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """What the op ``mixed_edge_fwd`` returns, with the maps that the backward needs.

    Args:
        x: As the op has it, like the others.
        w: As there.
        params: Where those lie.
        codes: As there.
        stride: As there.
        mean: As there, where it is not training.
        var: As there.
        training: As there.
        eps: As there.

    Returns:
        None where it cannot be computed here.
    """
    if params is None or not _usable(x, w, codes):
        return None
    shape, dtype = x.shape, x.dtype
    y_shape, z_shape, norms = _shapes(shape, codes, stride)
    rows = (norms if training else 0, shape[1])
    batch_mean, batch_var = x.new_empty(rows), x.new_empty(rows)
    if training:
        mean, var = batch_mean, batch_var
    elif mean is None or var is None or not _lie((mean, var), dtype, norms * shape[1]):
        return None
    if stride == 1:
        y = torch.empty_like(x)
    else:
        y = torch.empty(y_shape, dtype=dtype, device=x.device, memory_format=torch.channels_last)
    z = x.new_empty(z_shape)
    _native.mixed_edge_forward(
        (*shape, _BYTES[dtype]), codes, stride, training, eps, x.data_ptr(), w.data_ptr(),
        params.begins, params.numbers, mean.data_ptr(), var.data_ptr(), y.data_ptr(),
        z.data_ptr(),
    )  # fmt: skip
    return y, batch_mean, batch_var, z


def edge_backward(
    g: Tensor,
    x: Tensor,
    w: Tensor,
    params: Sequence[Tensor],
    lies: Dense | None,
    codes: tuple[int, ...],
    stride: int,
    mean: Tensor,
    var: Tensor,
    training: bool,
    eps: float,
    z: Tensor,
    needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, list[Tensor | None]] | None:
    """The gradients that the op ``mixed_edge_bwd`` returns, None for one that is not wanted.

    Args:
        g: As the op has it, like the others.
        x: As there.
        w: As there.
        params: As there.
        lies: Where those lay in the forward pass.
        codes: As there.
        stride: As there.
        mean: As there.
        var: As there.
        training: As there.
        eps: As there.
        z: As there.
        needs: Whether the gradients of x, of w and of each of the params are wanted.

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
        or not _usable(x, w, codes)
        or not _lie((mean, var, z), dtype)
    ):
        return None
    if lies is None or not lie_as(params, lies):
        lies = dense(params, dtype)
        if lies is None:
            return None
    empty = torch.empty_like
    dx = empty(x, memory_format=torch.channels_last) if needs[0] else None
    dw = empty(w) if needs[1] else None
    dparams = [empty(p) if needed else None for p, needed in zip(params, needs[2:], strict=True)]
    _native.mixed_edge_backward(
        (*x.shape, _BYTES[dtype]), codes, stride, training, eps, x.data_ptr(), w.data_ptr(),
        lies.begins, lies.numbers, mean.data_ptr(), var.data_ptr(), z.data_ptr(), g.data_ptr(),
        0 if dx is None else dx.data_ptr(),
        0 if dw is None else dw.data_ptr(),
        tuple([0 if d is None else d.data_ptr() for d in dparams]),
    )  # fmt: skip
    return dx, dw, dparams


def move_running(
    running: Sequence[Dense] | None, mean: Tensor, var: Tensor, momentum: float, values: int
) -> bool:
    """Moves running statistics as ``update_running`` does; whether it could.

    Args:
        running: Where the running means, the variances and the numbers of batches lie.
        mean: As there, like the others.
        var: As there.
        momentum: As there.
        values: As there.
    """
    dtype = mean.dtype
    if running is None or not _free(mean) or not _lie((mean, var), dtype):
        return False
    means, vars, counts = running
    norms, channels = mean.shape
    each = (channels,) * norms
    if not (means.numbers == vars.numbers == each and counts.numbers == (1,) * norms):
        return False
    _native.update_running(
        _BYTES[dtype], channels, values, momentum, mean.data_ptr(), var.data_ptr(),
        means.begins, vars.begins, counts.begins,
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


@functools.lru_cache(maxsize=1024)
def _shapes(
    shape: tuple[int, ...], codes: tuple[int, ...], stride: int
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """The shapes of y and of the saved maps, and the number of norms."""
    norms, stages = counts_of(codes)
    batch, channels, height, width = shape
    sizes = (batch, channels, -(-height // stride), -(-width // stride))
    z = saved_like(torch.empty(0, device="meta"), torch.empty(sizes, device="meta"), stages)
    return sizes, tuple(z.shape), norms


def _free(x: Tensor) -> bool:
    """Whether nothing watches or forbids what is compiled for x."""
    return (
        _HAS
        and x.is_cpu
        and x.dtype in _BYTES
        and type(x) in _PLAIN
        and _modes() == 0
        and not _profiled()
        and choice() in _COMPILED
    )


def _usable(x: Tensor, w: Tensor, codes: tuple[int, ...]) -> bool:
    """Whether x and w of an edge lie as they should."""
    return (
        _free(x)
        and not x.is_neg()
        and x.is_contiguous(memory_format=torch.channels_last)
        and _lie((w,), x.dtype, len(codes))
    )


def _lie(tensors: Sequence[Tensor], dtype: torch.dtype, numbers: int | None = None) -> bool:
    """Whether each is plain, dense, of the dtype and of so many numbers."""
    for t in tensors:
        if t.dtype is not dtype or type(t) not in _PLAIN or not t.is_cpu:
            return False
        if not t.is_contiguous() or t.is_neg() or (numbers is not None and t.numel() != numbers):
            return False
    return True
