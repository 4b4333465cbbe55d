"""The samples of the op convolve: of its input, and of what of it is above zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import ops
from .op_sample import LAYOUTS, OpCase, OpSample, arrange

__all__ = ["CONVOLVE", "CONVOLVE_RELU"]

# Channels in and out by the count of a case: tails of vectors and of panels, and several panels.
CHANNELS = {1: (1, 2), 2: (5, 3), 3: (3, 4), 4: (17, 33), 5: (40, 20), 6: (34, 70)}
_CONVOLUTIONS: Any = {
    1: torch.nn.functional.conv1d,
    2: torch.nn.functional.conv2d,
    3: torch.nn.functional.conv3d,
}


def _kernel(sides: int, count: int) -> list[int]:
    """Sides of 1 and 3, in every order over the cases."""
    kernel = [1 if (count + i) % 3 == 0 else 3 for i in range(sides)]
    return kernel if 3 in kernel else [*kernel[:-1], 3]


def _inputs(case: OpCase, dtype: torch.dtype, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sides = tuple(max(side, 1) for side in case.shape[-3:]) or (1,)  # torch's need one
    c_in, c_out = CHANNELS[case.count]
    shapes = (
        (1 + len(case.shape) % 2, c_in, *sides),
        (c_out, c_in, *_kernel(len(sides), case.count)),
    )
    return [
        arrange(
            torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype),
            case.layouts[i % len(case.layouts)],
        )
        for i, shape in enumerate(shapes)
    ]


def _formula(relu: bool, x: Tensor, weight: Tensor) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    kernel = weight.shape[2:]
    convolution = _CONVOLUTIONS[len(kernel)]
    given = x.to(wide).relu() if relu else x.to(wide)
    y: Tensor = convolution(given, weight.to(wide), padding=[k // 2 for k in kernel])
    return y.to(x.dtype)


def _sizes(relu: bool, g: Tensor, x: Tensor, weight: Tensor) -> list[Tensor]:
    """The absolute terms: along a side of 3 an output of equal ones takes 8 instead of 3."""
    leaves = [t.abs().requires_grad_() for t in (x, weight)]
    y = _formula(relu, *leaves)
    more = (8 / 3) ** sum(k == 3 for k in weight.shape[2:])
    return [more * t for t in (y.detach(), *torch.autograd.grad(y, leaves, g.abs()))]


def _raw(relu: bool, tensors: Sequence[Tensor]) -> list[tuple[Any, tuple[Any, ...]]]:
    x, weight = tensors
    named = torch.ops.nas_domains
    g = torch.ones(len(x), len(weight), *x.shape[2:], dtype=x.dtype).requires_grad_()
    twice = ([g, g], [weight, weight], x.detach() if relu else None)
    return [
        (named.winograd.default, (x, weight, relu)),
        (named.winograd_back.default, twice),
        (named.winograd_weight.default, (g, x, list(weight.shape[2:]), relu)),
    ]


_x = torch.zeros(1, 2, 4)
_w = torch.zeros(3, 2, 3)
_f = ops.convolve
_CASES = (
    *(OpCase((n,), count) for n in (1, 2, 3, 67) for count in (1, 4)),
    *(OpCase((5, 4), count) for count in CHANNELS),
    *(OpCase((3, 4, 5), count) for count in CHANNELS),
    *(OpCase((1, 5, 4, 3), count, ("channels_last",)) for count in CHANNELS),
    OpCase((2, 1, 1), 4),
    OpCase((3, 4, 5), 6, LAYOUTS),
    OpCase((4, 5), 4, ("transposed", "sliced")),
    OpCase((4, 5), 5, ("expanded",)),
    # More than one block of tiles, and sums in parts.
    OpCase((24, 30), 4, ("channels_last",)),
    OpCase((16, 18, 15), 2, ("channels_last",)),
)


def _sample(name: str, relu: bool, errors: Any) -> OpSample:
    return OpSample(
        name=name,
        call=lambda x, weight: _f(x, weight, relu),
        formula=lambda x, weight: _formula(relu, x, weight),
        inputs=_inputs,
        raw=lambda tensors: _raw(relu, tensors),
        cases=_CASES,
        errors=errors,
        sizes=lambda g, x, weight: _sizes(relu, g, x, weight),
    )


CONVOLVE = _sample(
    "convolve",
    False,
    (
        (lambda: _f(_x.int(), _w.int()), TypeError, "x is torch.int32"),
        (lambda: _f(_x, _w.double()), TypeError, "weight torch.float64"),
        (lambda: _f(_x[0], _w), ValueError, r"x has shape \(2, 4\)"),
        (lambda: _f(_x, _w[0]), ValueError, r"weight has shape \(2, 3\)"),
        (lambda: _f(_x, _w[:, :1]), ValueError, r"give it \[C_out, 2, ...\]"),
        (lambda: _f(_x, _w[..., :2]), ValueError, "the kernel is 2"),
        (lambda: _f(_x, _w[..., :1]), ValueError, "one of 3"),
        (lambda: _f(_x, _w.to("meta")), ValueError, "weight is on meta"),
    ),
)

CONVOLVE_RELU = _sample("convolve of what is above zero", True, ())
