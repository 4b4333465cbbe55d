"""Inputs of the ops of the depthwise bank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st

EVERY = ((3, 1), (5, 1), (3, 2), (5, 2))


@dataclass(frozen=True)
class BankCase:
    """One call of both ops.

    Attributes:
        shape: [B, C, H, W].
        windows: (kernel, dilation) of each convolution.
        stride: 1 or 2.
        scaled: Whether scale and bias are given.
        pools: Whether the pools take part.
        ties: Whether x holds many equal values and zeros.
    """

    shape: tuple[int, int, int, int]
    windows: tuple[tuple[int, int], ...] = EVERY
    stride: int = 1
    scaled: bool = False
    pools: bool = True
    ties: bool = False


CASES = (
    BankCase((2, 3, 6, 5)),
    BankCase((2, 3, 7, 5), stride=2, ties=True),
    BankCase((1, 2, 1, 1), scaled=True),
    BankCase((3, 1, 8, 8), ((5, 2),), scaled=True, pools=False),
    BankCase((2, 9, 9, 4), ((3, 1), (3, 1), (5, 1)), 2, scaled=True, ties=True),
    BankCase((2, 5, 4, 9), ((3, 2),), 2, pools=False),
    BankCase((2, 4, 5, 3), (), ties=True),
    BankCase((1, 4, 6, 2), (), 2),
)


@st.composite
def bank_cases(draw: Any) -> BankCase:
    side = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 33])
    shape = (
        draw(st.integers(1, 5)), draw(st.sampled_from([1, 3, 4, 5, 8, 9, 16, 17, 20])),
        draw(side), draw(side),
    )  # fmt: skip
    windows = draw(st.lists(st.sampled_from(EVERY), max_size=4))
    scaled, pools, ties = (draw(st.booleans()) for _ in range(3))
    return BankCase(shape, tuple(windows), draw(st.integers(1, 2)), scaled, pools, ties)


def draw_inputs(case: BankCase, dtype: torch.dtype, seed: int = 0) -> dict[str, Any]:
    """Returns all arguments of both ops by name, but for the needs."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.promote_types(dtype, torch.float32)

    def draw(*shape: int, to: torch.dtype = dtype) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(to)

    batch, channels, *sides = case.shape
    outs = [-(-side // case.stride) for side in sides]
    x = draw(*case.shape)
    x = (1.5 * x).round() if case.ties else x
    g = draw(batch, channels, *outs)
    return {
        "da": draw(len(case.windows), batch, *outs, channels),
        "x": x.contiguous(memory_format=torch.channels_last),
        "scale": draw(channels, to=real) if case.scaled else None,
        "bias": draw(channels, to=real) if case.scaled else None,
        "weights": [draw(channels, 1, kernel, kernel) for kernel, _ in case.windows],
        "dilations": [dilation for _, dilation in case.windows],
        "stride": case.stride,
        "pools": case.pools,
        "g": g.contiguous(memory_format=torch.channels_last) if case.pools else None,
        "coefficients": draw(3, 3, channels, to=real) if case.pools else None,
    }


def converted(inputs: dict[str, Any], change: Any) -> dict[str, Any]:
    """The inputs with ``change`` applied to each tensor."""

    def of(value: Any) -> Any:
        if isinstance(value, list):
            return [of(v) for v in value]
        return change(value) if isinstance(value, torch.Tensor) else value

    return {name: of(value) for name, value in inputs.items()}


def fwd_args(inputs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of ``depthwise_bank_fwd``."""
    return tuple(v for k, v in inputs.items() if k not in ("da", "g", "coefficients"))


def bwd_args(inputs: dict[str, Any], dx: bool = True, dweights: bool = True) -> tuple[Any, ...]:
    """The arguments of ``depthwise_bank_bwd``."""
    return (*(v for k, v in inputs.items() if k != "pools"), dx, dweights)
