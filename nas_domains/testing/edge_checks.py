"""What the op ``mixed_edge`` must show, as its tests and its benchmark see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ops
from ..ops.mixed_edge_checks import param_shapes
from ..ops.mixed_edge_reference import BRANCHES, NAMES, formula

__all__ = [
    "DARTS",
    "NASBENCH201",
    "EdgeCase",
    "by_formula",
    "by_op",
    "check_mixed_edge",
    "check_values",
    "every_branch",
    "tensors",
    "values_and_gradients",
]

DARTS = (
    "none",
    "max_pool",
    "avg_pool",
    "skip",
    "sep_conv_3",
    "sep_conv_5",
    "dil_conv_3",
    "dil_conv_5",
)
NASBENCH201 = ("none", "skip", "conv_1", "conv_3", "avg_pool_plain")


def every_branch(stride: int, channels: int = 2) -> tuple[str, ...]:
    """Returns all branches that exist at a stride."""
    absent = {"reduce"} if stride == 1 else {"skip"} | ({"reduce"} if channels < 2 else set())
    return tuple(name for name in BRANCHES if name not in absent)


@dataclass(frozen=True)
class EdgeCase:
    """One call of the op.

    Attributes:
        shape: [B, C, H, W].
        branches: Names.
        stride: 1 or 2.
        training: Whether statistics are those of the batch.
        ties: Whether x holds many equal values and zeros.
        offset: Added to x, in its standard deviations.
    """

    shape: tuple[int, int, int, int]
    branches: tuple[str, ...] = DARTS
    stride: int = 1
    training: bool = True
    ties: bool = False
    offset: float = 0.0


Tensors = dict[str, Tensor]


def tensors(case: EdgeCase, dtype: torch.dtype, seed: int = 0) -> tuple[list[Tensor], Tensors]:
    """Returns ([x, w, *params], {"g", "mean", "var"}) of a case."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    batch, channels, height, width = case.shape
    x = draw(*case.shape)
    x = ((1.5 * x).round() if case.ties else x) + case.offset
    params = [
        draw(*shape) / max(1, torch.Size(shape[1:]).numel()) ** 0.5
        for name in case.branches
        for shape in param_shapes(name, channels)
    ]
    w = draw(len(case.branches)).softmax(0)
    sides = (-(-height // case.stride), -(-width // case.stride))
    norms = sum(BRANCHES[name].norms for name in case.branches)
    given = {
        "g": draw(batch, channels, *sides),
        "mean": draw(norms, channels),
        "var": draw(norms, channels).square() + 0.5,
    }
    x = x.contiguous(memory_format=torch.channels_last)
    return [t.to(dtype) for t in (x, w, *params)], {k: t.to(dtype) for k, t in given.items()}


def by_formula(case: EdgeCase, inputs: Sequence[Tensor], given: Tensors) -> Tensor:
    """Returns the plain formula's output."""
    x, w, *params = inputs
    codes = [NAMES.index(name) for name in case.branches]
    mean, var = given["mean"], given["var"]
    return formula(x, w, params, codes, case.stride, mean, var, case.training, 1e-5)


def by_op(case: EdgeCase, inputs: Sequence[Tensor], given: Tensors) -> Tensor:
    """Returns the op's output."""
    x, w, *params = inputs
    mean, var = (None, None) if case.training else (given["mean"], given["var"])
    return ops.mixed_edge(x, w, params, case.branches, case.stride, mean=mean, var=var)[0]


def values_and_gradients(
    call: Callable[[EdgeCase, Sequence[Tensor], Tensors], Tensor],
    case: EdgeCase,
    inputs: Sequence[Tensor],
    given: Tensors,
) -> list[Tensor]:
    """Returns the output and the gradients of all inputs, for given["g"]."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    y = call(case, leaves, given)
    if not y.requires_grad:
        return [y, *(torch.zeros_like(leaf) for leaf in leaves)]
    grads = torch.autograd.grad(y, leaves, given["g"], allow_unused=True, materialize_grads=True)
    return [y.detach(), *grads]


def _error(got: Tensor, exact: Tensor, values: int) -> float:
    # A weight whose gradient vanishes by the scale invariance of a batch norm has no relative
    # error; that of a sum of terms that cancel grows as the root of their number.
    scale = max(exact.norm().item(), 1e-2 * (exact.numel() * max(1, values / 64)) ** 0.5)
    return (got.cpu().double() - exact).norm().item() / scale if exact.numel() else 0.0


def check_values(case: EdgeCase, dtype: torch.dtype, seed: int = 0, device: str = "cpu") -> None:
    """Checks the output and all gradients on a device against float64 on the CPU.

    Raises:
        AssertionError: One is further off than 8 times the plain formula in the same dtype, and
            than 64 roundings.
    """
    inputs, given = tensors(case, dtype, seed)
    exact = values_and_gradients(
        by_formula, case, [t.double() for t in inputs], {k: t.double() for k, t in given.items()}
    )
    # Without oneDNN: its gradient of a strided 1x1 convolution of few channels, in channels-last,
    # writes beyond its memory (torch 2.13).
    with torch.backends.mkldnn.flags(enabled=False):
        plain = values_and_gradients(by_formula, case, inputs, given)
    moved = [t.to(device) for t in inputs], {k: t.to(device) for k, t in given.items()}
    # Convolutions that the op leaves to cuDNN round to TF32 by default.
    tf32, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        ours = values_and_gradients(by_op, case, *moved)
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    names = ["y", "dx", "dw", *(f"dparams[{i}]" for i in range(len(inputs) - 2))]
    floor = 64 * torch.finfo(dtype).eps
    # Few values a channel make a batch norm's gradient a difference of nearly equal terms.
    values = case.shape[0] * exact[0].shape[2] * exact[0].shape[3]
    if values < 64 or case.shape[1] == 1:
        floor *= 64
    for name, a, b, c in zip(names, ours, plain, exact, strict=True):
        off = _error(a, c, values)
        allowed = max(8 * _error(b, c, values), floor)
        assert off <= allowed, f"{case}, {dtype}: {name} is off by {off:.2e} > {allowed:.2e}"


CASES = (
    EdgeCase((4, 16, 8, 8)),
    EdgeCase((5, 4, 7, 7)),
    EdgeCase((2, 32, 14, 14), ties=True),
    EdgeCase((3, 8, 5, 9), every_branch(1)),
    EdgeCase((3, 8, 5, 9), every_branch(2), 2),
    EdgeCase((2, 16, 16, 16), NASBENCH201),
    EdgeCase((4, 16, 8, 8), training=False),
)


def check_mixed_edge(device: str = "cpu") -> None:
    """Runs the contract in short, as before a benchmark.

    Raises:
        AssertionError: The op is wrong.
    """
    for case in CASES:
        for dtype in (torch.float32, torch.float64):
            check_values(case, dtype, device=device)
