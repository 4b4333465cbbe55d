"""Whether the arguments of the mixed edge fit each other."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from .mixed_edge_reference import BRANCHES, NAMES

__all__ = ["check_edge", "param_shapes"]


def check_edge(
    x: Tensor,
    w: Tensor,
    params: Sequence[Tensor],
    branches: Sequence[str],
    stride: int,
    mean: Tensor | None,
    var: Tensor | None,
) -> list[int]:
    """Returns the codes of the branches; raises where arguments do not fit.

    Args:
        x: As :func:`nas_domains.ops.mixed_edge` has it, like the others.
        w: As there.
        params: As there.
        branches: As there.
        stride: As there.
        mean: As there.
        var: As there.

    Raises:
        TypeError: A dtype is not float32 or float64.
        ValueError: Something else does not fit.
    """
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"mixed_edge: x is {x.dtype}; convert it to float32 or float64.")
    if x.dim() != 4 or 0 in x.shape:
        raise ValueError(
            f"mixed_edge: x has shape {tuple(x.shape)}; give it [B, C, H, W] with no side of 0."
        )
    # Numbers of a traced graph are no keys of a cache.
    traced = type(x.shape[1]) is not int or torch.compiler.is_compiling()
    check = _check_branches.__wrapped__ if traced else _check_branches
    codes, shapes, norms = check(tuple(branches), stride, x.shape[1])
    for i, t in enumerate((w, *params)):
        if t.dtype in (torch.float32, torch.float64) and t.device == x.device:
            continue
        label = f"params[{i - 1}]" if i else "w"
        if t.device == x.device:
            raise TypeError(f"mixed_edge: {label} is {t.dtype}; convert it to float32 or float64.")
        raise ValueError(
            f"mixed_edge: {label} is on {t.device} and x on {x.device}; move them together."
        )
    if w.dim() != 1 or w.shape[0] != len(codes):
        raise ValueError(
            f"mixed_edge: w has shape {tuple(w.shape)}; give it one weight for each of the "
            f"{len(codes)} branches."
        )
    found = tuple(tuple(p.shape) for p in params)
    if found != shapes:
        raise ValueError(
            f"mixed_edge: params have shapes {list(found)}; these branches take {list(shapes)}."
        )
    if (mean is None) != (var is None):
        raise ValueError("mixed_edge: give it both mean and var, or neither.")
    for label, given in (("mean", mean), ("var", var)):
        if given is not None:
            _check_statistics(label, given, x, (norms, x.shape[1]))
    values = x.shape[0] * -(-x.shape[2] // stride) * -(-x.shape[3] // stride)
    if mean is None and norms and values == 1:
        raise ValueError(
            f"mixed_edge: x has shape {tuple(x.shape)}, one value a channel, which has no "
            "statistics; use a larger batch, or give it mean and var."
        )
    return list(codes)


def _check_statistics(label: str, given: Tensor, x: Tensor, shape: tuple[int, int]) -> None:
    if tuple(given.shape) != shape:
        raise ValueError(
            f"mixed_edge: {label} has shape {tuple(given.shape)}; these branches take {shape}."
        )
    if given.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"mixed_edge: {label} is {given.dtype}; convert it to float32 or float64.")
    if given.device != x.device:
        raise ValueError(
            f"mixed_edge: {label} is on {given.device} and x on {x.device}; move them together."
        )
    if given.requires_grad:
        raise ValueError(f"mixed_edge: {label} requires a gradient, which it has not; detach it.")


@functools.cache
def _check_branches(
    branches: tuple[str, ...], stride: int, channels: int
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...], int]:
    """Returns the branches' codes, the shapes of their weights, and the number of their norms."""
    if stride not in (1, 2):
        raise ValueError(f"mixed_edge: stride is {stride}; use 1 or 2.")
    for name in branches:
        if name not in BRANCHES:
            raise ValueError(f"mixed_edge: no branch {name!r}; use {', '.join(BRANCHES)}.")
    if len(set(branches)) != len(branches):
        raise ValueError(f"mixed_edge: {list(branches)} names a branch twice; name each once.")
    wrong = "reduce" if stride == 1 else "skip"
    if wrong in branches:
        raise ValueError(f"mixed_edge: {wrong!r} does not exist at stride {stride}; leave it out.")
    if "reduce" in branches and channels < 2:
        raise ValueError("mixed_edge: 'reduce' needs two channels at least; leave it out.")
    return (
        tuple(NAMES.index(name) for name in branches),
        tuple(s for name in branches for s in param_shapes(name, channels)),
        sum(BRANCHES[name].norms for name in branches),
    )


def param_shapes(name: str, channels: int) -> list[tuple[int, ...]]:
    """Returns the shapes of a branch's weights."""
    branch = BRANCHES[name]
    k = branch.kernel
    if name == "reduce":
        return [(c, channels, 1, 1) for c in (channels - channels // 2, channels // 2)]
    if branch.params == 1:
        return [(channels, channels, k, k)]
    return [(channels, 1, k, k), (channels, channels, 1, 1)] * branch.stages
