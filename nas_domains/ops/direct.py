"""The mixed edge on memory, without torch's dispatcher.

A call of an op goes through the dispatcher, which boxes each of some dozens of tensors; with cold
caches that takes longer than a small edge computes. Where nothing needs the dispatcher (the CPU,
plain dense tensors of one dtype, no mode that watches ops, no profiler) the compiled module is
given addresses instead. Everywhere else, and wherever an argument is not as expected, the op runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .backend import choice, native_module
from .mixed_edge import gradients
from .mixed_edge_reference import counts_of, saved_like

__all__ = ["Dense", "DirectEdge", "dense", "unwatched"]

_native: Any = native_module()
_BYTES = {torch.float32: 4, torch.float64: 8}
_PLAIN = frozenset((Tensor, nn.Parameter))
_COMPILED = frozenset(("auto", "native"))
_LAST = torch.channels_last
_modes: Any = getattr(torch._C, "_len_torch_dispatch_stack", None)
_profiled: Any = getattr(torch.autograd, "_profiler_enabled", None)
_transformed: Any = getattr(torch._C, "_are_functorch_transforms_active", None)
_saving: Any = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
_imported: Any = getattr(torch._C, "_from_dlpack", None)
_HAS = hasattr(_native, "new_map") and None not in (
    _modes, _profiled, _transformed, _saving, _imported,
)  # fmt: skip


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
    """Where tensors lie; None where one is not as :class:`Dense` says, or nothing reads it.

    Args:
        tensors: Any.
        dtype: That all should have.
    """
    if not _HAS:
        return None
    if not all(_plain(t, dtype) and t.is_contiguous() for t in tensors):
        return None
    return Dense(_native.addresses(tensors), tuple([t.numel() for t in tensors]))


def _plain(t: Tensor, dtype: torch.dtype) -> bool:
    """Whether memory of the CPU holds its numbers, in this dtype, and nothing wraps them."""
    return (
        t.dtype is dtype
        and type(t) in _PLAIN
        and t.is_cpu
        and not t.is_neg()
        and t.data_ptr() != 0
    )


def _maker(like: Tensor) -> Callable[[], Tensor]:
    """A function that makes dense tensors of the CPU as the one given, their values not set.

    Large ones lie in memory that is kept for the next. In the heap, to let go of the last one may
    give all that is free before it back to the system, which takes longer than an edge.
    """
    sizes, strides, bits = tuple(like.shape), like.stride(), 8 * like.element_size()

    def make() -> Tensor:
        capsule = _native.new_map(sizes, strides, bits)
        if capsule is None:
            return torch.empty_strided(sizes, strides, dtype=like.dtype, device="cpu")
        made: Tensor = _imported(capsule)
        return made

    return make


def unwatched() -> bool:
    """Whether nothing asks to see the ops: no mode, no profiler, no transform such as vmap."""
    return _HAS and _modes() == 0 and not _profiled() and not _transformed()


class DirectEdge:
    """The op ``mixed_edge`` in training, for x of one shape and weights that lie still.

    Args:
        x: [B, C, H, W], one of that shape.
        codes: Places of the branches in ``NAMES``.
        stride: 1 or 2.
        eps: Added to variances.
        weights: Where the weights lie that the op takes.
        running: Where the running means, the variances and the numbers of batches lie that each
            call moves; nothing where it moves none.
        momentum: Of these.

    Raises:
        RuntimeError: Weights or running statistics do not fit the branches, or a channel has a
            single value to take statistics of.
    """

    def __init__(
        self,
        x: Tensor,
        codes: tuple[int, ...],
        stride: int,
        eps: float,
        weights: Dense,
        running: Sequence[Dense],
        momentum: float,
    ) -> None:
        norms, stages = counts_of(codes)
        batch, channels, height, width = x.shape
        wanted = (channels,) * norms, (channels,) * norms, (1,) * norms
        if running and tuple(one.numbers for one in running) != wanted:
            raise RuntimeError("mixed_edge: running statistics of a value a channel, and a count.")
        self.branches, self.stride, self.eps = codes, stride, eps
        self._sizes = batch, channels, -(-height // stride), -(-width // stride)
        like, y = (
            torch.empty(sizes, dtype=x.dtype, device="meta", memory_format=_LAST)
            for sizes in (x.shape, self._sizes)
        )
        self._maps = tuple(saved_like(like, y, stages).shape)
        self._norms = norms, channels
        self._kept = math.prod(self._maps) + 2 * norms * channels
        self._new_y, self._new_dx = _maker(y), _maker(like)
        self._dtype, self._ratios, self._weights = x.dtype, (len(codes),), weights.begins
        begins = [one.begins for one in running] or [(), (), ()]
        self._compiled = _native.direct_edge(
            (*x.shape, _BYTES[x.dtype]), codes, stride, eps, momentum, weights.begins,
            weights.numbers, *begins,
        )  # fmt: skip

    def fits(self, x: Tensor, w: Tensor) -> bool:
        """Whether it can be called: x and w lie as they should, and no other backend is asked for.

        What is saved for the backward is told here from what the op saves, so not where hooks take
        that.

        Args:
            x: Of the shape, where ops are :func:`unwatched`.
            w: Weights of the branches.
        """
        return (
            _plain(x, self._dtype)
            and _plain(w, self._dtype)
            and x.is_contiguous(memory_format=_LAST)
            and w.shape == self._ratios
            and w.is_contiguous()
            and choice() in _COMPILED
            and _saving(False) is None
        )

    def __call__(self, x: Tensor, w: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Returns y and moves running statistics, where :meth:`fits` and the weights lie there.

        Args:
            x: Of the shape.
            w: [K] weights of the branches.
            weights: Those of the convolutions.
        """
        y: Tensor = _apply(self, x, w, *weights)
        return y

    def forward(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """Returns y and, in one tensor, what the backward needs.

        Args:
            x: As above, like w.
            w: As above.
        """
        # What is kept is let go of before y is; torch's memory may be in the caches still.
        y, kept = self._new_y(), x.new_empty(self._kept)
        _native.direct_edge_forward(
            self._compiled, x.data_ptr(), w.data_ptr(), y.data_ptr(), kept.data_ptr()
        )
        return y, kept

    def fits_back(self, g: Tensor, saved: Sequence[Tensor], begins: tuple[int, int, int]) -> bool:
        """Whether the backward can be: g lies as it should, and all else where it did.

        Args:
            g: Gradient of y, where ops are :func:`unwatched`.
            saved: x, w, what was kept, and the weights.
            begins: Where the first three lay.
        """
        return (
            _plain(g, self._dtype)
            and g.is_contiguous(memory_format=_LAST)
            and choice() in _COMPILED
            and _native.addresses(saved) == begins + self._weights
            and saved[0].dtype is self._dtype
            and saved[0].is_contiguous(memory_format=_LAST)
        )

    def backward(
        self,
        g: Tensor,
        saved: Sequence[Tensor],
        begins: tuple[int, int, int],
        needs: Sequence[bool],
    ) -> list[Tensor | None]:
        """Returns the gradients of x, of w and of the weights, None for those not wanted.

        Args:
            g: Gradient of y, dense in channels-last.
            saved: x, w, what was kept, and the weights.
            begins: Where the first three lie.
            needs: Whether each gradient is wanted.
        """
        _, w, _, *weights = saved
        empty = torch.empty_like
        dx = self._new_dx() if needs[0] else None
        dw = empty(w) if needs[1] else None
        dweights = [
            empty(p) if needed else None for p, needed in zip(weights, needs[2:], strict=True)
        ]
        _native.direct_edge_backward(
            self._compiled, g.data_ptr(), *begins,
            0 if dx is None else dx.data_ptr(),
            0 if dw is None else dw.data_ptr(),
            tuple([0 if d is None else d.data_ptr() for d in dweights]),
        )  # fmt: skip
        return [dx, dw, *dweights]

    def parts(self, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The means, the variances and the maps that the op would have returned.

        Args:
            kept: What :meth:`forward` kept.
        """
        norms = math.prod(self._norms)
        z, mean, var = torch.split(kept, [self._kept - 2 * norms, norms, norms])
        return mean.view(self._norms), var.view(self._norms), z.view(self._maps)


class _Direct(torch.autograd.Function):
    """Both passes; the op's backward where something changed since the forward."""

    @staticmethod
    def forward(ctx: Any, edge: DirectEdge, x: Tensor, w: Tensor, *weights: Tensor) -> Tensor:
        y, kept = edge.forward(x, w)
        ctx.edge, ctx.begins = edge, (x.data_ptr(), w.data_ptr(), kept.data_ptr())
        # Autograd would make a gradient of zeros where y is not used.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, w, kept, *weights)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        (g,) = grads
        saved, needs = ctx.saved_tensors, ctx.needs_input_grad[1:]
        edge: DirectEdge = ctx.edge
        if g is None:
            return None, *[None] * len(needs)
        differentiated = torch.is_grad_enabled()
        if not differentiated and unwatched() and edge.fits_back(g, saved, ctx.begins):
            return None, *edge.backward(g, saved, ctx.begins, needs)
        x, w, kept, *weights = saved
        mean, var, z = edge.parts(kept)
        found = gradients(
            g, x, w, weights, mean, var, z, edge.branches, edge.stride, True, edge.eps, "native",
            needs,
        )  # fmt: skip
        return None, *found


# What torch does before it, for tensors that transforms have wrapped, is not cheap.
_apply: Any = super(torch.autograd.Function, _Direct).apply
