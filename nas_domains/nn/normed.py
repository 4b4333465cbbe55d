"""The weighted sum of an edge's candidates, with the batch norms of all of them in one op."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..ops import norm_weighted_sum, running_statistics, weighted_sum
from .candidates import NORM, FactorizedReduce

__all__ = [
    "alike",
    "hooks_of",
    "is_plain",
    "is_watched",
    "split",
    "stacked_running",
    "update_running",
    "weighted_candidates",
]

_KINDS = frozenset(NORM.values())


def weighted_candidates(modules: Sequence[nn.Module], x: Tensor, w: Tensor) -> Tensor:
    """Returns sum over k of w_k modules[k](x), and updates running statistics as the modules do.

    Candidates that :func:`split` takes apart, and whose norms have the eps, momentum and mode
    (training, tracking) of the first such, give one op what their norms would get; the others run
    as a whole.

    Args:
        modules: K >= 1 candidates.
        x: [B, C, ...].
        w: [K].
    """
    outputs: list[Tensor] = []
    normed: list[bool] = []
    norms: list[_BatchNorm] = []
    for module in modules:
        parts = split(module)
        fused = parts is not None and (not norms or alike(parts[1], norms[0]))
        if parts is not None and fused:
            outputs.append(parts[0](x))
            norms.append(parts[1])
        else:
            outputs.append(module(x))
        normed.append(fused)
    if not norms:
        return weighted_sum(outputs, w)
    if not norms[0].training:
        mean, var = stacked_running(norms)
        return norm_weighted_sum(outputs, w, normed, mean, var, norms[0].eps)[0]
    y, mean, var = norm_weighted_sum(outputs, w, normed, eps=norms[0].eps)
    if norms[0].track_running_stats:
        update_running(norms, mean, var, y.numel() // y.shape[1])
    return y


def split(module: nn.Module) -> tuple[Callable[[Tensor], Tensor], _BatchNorm] | None:
    """Takes a candidate apart into what comes before its batch norm, and that norm.

    Returns:
        (body, norm) with module(x) = norm(body(x)); None unless the candidate ends in a batch norm
        of torch, not affine, that has running statistics with a momentum, and no hook wants to
        see the norm or the candidate as a whole.
    """
    body: Callable[[Tensor], Tensor]
    norm: nn.Module
    if type(module) is FactorizedReduce:
        body, norm = module.before_norm, module.norm
    elif type(module) is nn.Sequential and len(module) > 0:
        *before, norm = module.children()
        body = partial(_run, before)
    else:
        return None
    if not is_plain(norm) or is_watched(norm) or is_watched(module):
        return None
    return body, norm


def update_running(norms: Sequence[_BatchNorm], mean: Tensor, var: Tensor, values: int) -> None:
    """Updates running statistics as ``nn.BatchNorm`` does in training.

    Args:
        norms: N tracking batch norms of C channels and one momentum.
        mean: Means [N, C] of the batch.
        var: Biased variances [N, C] of the batch; the running ones are unbiased.
        values: Values of each channel, over batch and space; at least 2.
    """
    means, vars = _buffers(norms, "running_mean"), _buffers(norms, "running_var")
    counts = _buffers(norms, "num_batches_tracked")
    dtype = means[0].dtype
    if mean.dtype != dtype:
        mean, var = mean.to(dtype), var.to(dtype)
    momentum = cast(float, norms[0].momentum)
    running_statistics.update_running(means, vars, counts, mean, var, momentum, values)


def stacked_running(norms: Sequence[_BatchNorm]) -> tuple[Tensor, Tensor]:
    """Returns the running means and variances of N batch norms of C channels, each [N, C]."""
    means, vars = _buffers(norms, "running_mean"), _buffers(norms, "running_var")
    return torch.stack(means), torch.stack(vars)


def _buffers(norms: Sequence[_BatchNorm], name: str) -> list[Tensor]:
    return [cast(Tensor, norm._buffers[name]) for norm in norms]


def _run(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x


def alike(a: _BatchNorm, b: _BatchNorm) -> bool:
    """Whether one op can stand for both."""
    return a is b or (
        a.eps == b.eps
        and a.momentum == b.momentum
        and a.training == b.training
        and a.track_running_stats == b.track_running_stats
    )


def is_plain(norm: Any) -> TypeGuard[_BatchNorm]:
    """Whether it is a batch norm of torch, not affine, with running statistics and a momentum."""
    # Without buffers a norm takes the statistics of the batch in evaluation too; without a
    # momentum it averages over all batches. One with buffers whose tracking is switched off, as a
    # gradient strategy does in its architecture step, leaves them as they are.
    return (
        type(norm) in _KINDS
        and not norm.affine
        and norm.momentum is not None
        # Not as attributes: torch looks for those in three places, and this is asked at each call.
        and norm._buffers.get("running_mean") is not None
        and norm._buffers.get("running_var") is not None
        and norm._buffers.get("num_batches_tracked") is not None
    )


def is_watched(module: nn.Module) -> bool:
    """Whether a hook wants to see it run."""
    return any(hooks_of(module))


def hooks_of(module: nn.Module) -> list[dict[int, Any]]:
    """Its registered hooks, in the containers that later ones are added to."""
    own = vars(module)
    return [
        own["_forward_hooks"],
        own["_forward_pre_hooks"],
        own["_backward_hooks"],
        own["_backward_pre_hooks"],
    ]
