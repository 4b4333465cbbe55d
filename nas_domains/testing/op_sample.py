"""What an op must show to its contract test: cases, layouts and the ``OpSample`` itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["LAYOUTS", "OpCase", "OpSample", "arrange", "draw"]

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
        sizes: For a gradient and the tensors, in float64: of the value and of each gradient, the
            sum of the absolute terms it is made of, whose rounding is allowed. By default the
            formula of absolute inputs, which is that where nothing is subtracted.
        dtypes: Dtypes to test.
    """

    name: str
    call: Callable[..., Tensor]
    formula: Callable[..., Tensor]
    inputs: Callable[[OpCase, torch.dtype, int], list[Tensor]]
    raw: Callable[[Sequence[Tensor]], list[tuple[Any, tuple[Any, ...]]]]
    cases: tuple[OpCase, ...]
    errors: tuple[tuple[Callable[[], object], type[Exception], str], ...]
    sizes: Callable[..., list[Tensor]] | None = None
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


def draw(case: OpCase, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> list[Tensor]:
    """Returns weights [count] and ``count`` tensors of ``shape`` in the layouts of a case."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    layouts = [case.layouts[k % len(case.layouts)] for k in range(case.count)]
    return [normal(case.count), *(arrange(normal(*shape), layout) for layout in layouts)]
