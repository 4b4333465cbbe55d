"""What an op must show to its contract test: one ``OpSample`` each, gathered in ``SAMPLES``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import ops

__all__ = ["LAYOUTS", "SAMPLES", "OpCase", "OpSample", "arrange"]

LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "expanded")


@dataclass(frozen=True)
class OpCase:
    """Inputs: ``count`` tensors of ``shape``, tensor i laid out as ``layouts[i % len]``."""

    shape: tuple[int, ...]
    count: int = 3
    layouts: tuple[str, ...] = ("contiguous",)


@dataclass(frozen=True)
class OpSample:
    """One op, as the contract test and the benchmarks see it.

    Attributes:
        name: The op's public name.
        call: The public function, of the flat tensors that ``inputs`` makes.
        formula: The same in plain differentiable PyTorch; its own error is the measure.
        inputs: Makes the tensors of a case from a dtype and a seed.
        raw: For such tensors, the registered ops with arguments, for ``torch.library.opcheck``.
        cases: Inputs that reach every branch: tails of vectors, blocks, layouts, empties.
        errors: Calls that must fail: what to call, the exception, and words of its sentence.
        dtypes: Dtypes to test.
    """

    name: str
    call: Callable[..., Tensor]
    formula: Callable[..., Tensor]
    inputs: Callable[[OpCase, torch.dtype, int], list[Tensor]]
    raw: Callable[[Sequence[Tensor]], list[tuple[Any, tuple[Any, ...]]]]
    cases: tuple[OpCase, ...]
    errors: tuple[tuple[Callable[[], object], type[Exception], str], ...]
    dtypes: tuple[torch.dtype, ...] = (
        torch.float32,
        torch.float64,
        torch.bfloat16,
        torch.float16,
    )


def arrange(x: Tensor, layout: str) -> Tensor:
    """Returns the values of ``x`` in a memory layout of ``LAYOUTS``.

    ``channels_last`` leaves tensors that are not 4- or 5-dimensional as they are; ``sliced`` puts
    NaN between the elements; ``expanded`` repeats the first entry of the first dimension, stride
    0.
    """
    if layout == "channels_last" and x.dim() in (4, 5):
        form = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
        return x.contiguous(memory_format=form)
    if layout == "transposed" and x.dim() > 1:
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "sliced" and x.dim() > 0:
        wide = x.new_full((*x.shape[:-1], 2 * x.shape[-1]), float("nan"))
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "expanded" and x.dim() > 0 and x.shape[0] > 0:
        return x[:1].expand(x.shape)
    return x.contiguous()


def _weighted_sum_inputs(case: OpCase, dtype: torch.dtype, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    layouts = [case.layouts[k % len(case.layouts)] for k in range(case.count)]
    return [draw(case.count), *(arrange(draw(*case.shape), layout) for layout in layouts)]


def _weighted_sum_formula(w: Tensor, *xs: Tensor) -> Tensor:
    total = w[0] * xs[0]
    for k in range(1, len(xs)):
        total = total + w[k] * xs[k]
    return total


def _weighted_sum_raw(tensors: Sequence[Tensor]) -> list[tuple[Any, tuple[Any, ...]]]:
    w, *xs = tensors
    fwd = torch.ops.nas_domains.weighted_sum_fwd.default
    bwd = torch.ops.nas_domains.weighted_sum_bwd.default
    plain = [x.detach() for x in xs]
    g = torch.ones_like(plain[0])
    some = list(range(0, len(xs), 2))
    return [
        (fwd, (xs, w)),
        (bwd, (g, plain, w.detach(), some)),
        (bwd, (g, [], w.detach(), some)),
        (bwd, (g, plain, w.detach(), [])),
    ]


_x = torch.zeros(2, 3)
WEIGHTED_SUM = OpSample(
    name="weighted_sum",
    call=lambda w, *xs: ops.weighted_sum(xs, w),
    formula=_weighted_sum_formula,
    inputs=_weighted_sum_inputs,
    raw=_weighted_sum_raw,
    cases=(
        *(OpCase((n,)) for n in (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 67)),
        *(OpCase((n,), count=2) for n in (4095, 4096, 4097, 8195)),
        OpCase((), count=2),
        OpCase((0,)),
        OpCase((2, 0, 3)),
        OpCase((5, 7), count=1),
        OpCase((5, 7), count=9),
        OpCase((2, 3, 5, 7), layouts=("channels_last",)),
        OpCase((2, 3, 3, 2, 5), layouts=("channels_last",)),
        OpCase((2, 3, 5, 7), layouts=LAYOUTS, count=5),
        OpCase((2, 3, 5, 7), layouts=("expanded", "sliced", "contiguous")),
        OpCase((4, 6), layouts=("transposed", "contiguous")),
    ),
    errors=(
        (lambda: ops.weighted_sum([], torch.ones(0)), ValueError, "empty list"),
        (lambda: ops.weighted_sum([_x, _x[:1]], torch.ones(2)), ValueError, r"xs\[1\] has shape"),
        (lambda: ops.weighted_sum([_x.int()], torch.ones(1)), TypeError, "torch.int32"),
        (lambda: ops.weighted_sum([_x], torch.ones(1).long()), TypeError, "w is torch.int64"),
        (lambda: ops.weighted_sum([_x, _x], torch.ones(3)), ValueError, r"w has shape \(3,\)"),
        (lambda: ops.weighted_sum([_x], torch.ones(1, 1)), ValueError, r"w has shape \(1, 1\)"),
        (lambda: ops.weighted_sum([_x, _x.to("meta")], torch.ones(2)), ValueError, "on meta"),
        (lambda: ops.weighted_sum([_x], torch.ones(1, device="meta")), ValueError, "w is on meta"),
        # As many dimensions and the same strides, but fewer elements than the tensors have.
        (
            lambda: torch.ops.nas_domains.weighted_sum_bwd(_x[:1], [_x, _x], torch.ones(2), [0]),
            RuntimeError,
            "tensors of one shape",
        ),
    ),
)

SAMPLES: dict[str, OpSample] = {sample.name: sample for sample in (WEIGHTED_SUM,)}
