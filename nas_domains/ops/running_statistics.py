r"""The running statistics of the batch norms of an edge, moved in one call.

.. math::
    m \leftarrow m + \mu (\bar m - m), \qquad v \leftarrow v + \mu (\tfrac{n}{n - 1} \bar v - v)

with :math:`\bar m` and :math:`\bar v` the mean and the biased variance of a batch of n values a
channel, and the momentum :math:`\mu`, as ``torch.nn.BatchNorm2d`` does in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .backend import define

__all__ = ["update_running"]


def update_running(
    means: Sequence[Tensor],
    vars: Sequence[Tensor],
    counts: Sequence[Tensor],
    mean: Tensor,
    var: Tensor,
    momentum: float,
    values: int,
) -> None:
    """Moves the running statistics of N batch norms of C channels towards those of a batch.

    Args:
        means: N running means [C], changed in place.
        vars: N running variances [C], changed in place.
        counts: N numbers of batches, int64 of one element; each is increased by one.
        mean: Means [N, C] of the batch, in the dtype of the running ones.
        var: Biased variances [N, C] of the batch.
        momentum: Share of the batch, 0 to 1.
        values: Values a channel has in the batch, at least 2.
    """
    # Plain PyTorch is what a compiler fuses; the kernel has no half types.
    if torch.compiler.is_compiling() or mean.dtype not in (torch.float32, torch.float64):
        with torch.no_grad():
            _reference(list(means), list(vars), list(counts), mean, var, momentum, values)
        return
    torch.ops.nas_domains.update_running.default(means, vars, counts, mean, var, momentum, values)
    torch.autograd.graph.increment_version((*means, *vars, *counts))


def _reference(
    means: list[Tensor],
    vars: list[Tensor],
    counts: list[Tensor],
    mean: Tensor,
    var: Tensor,
    momentum: float,
    values: int,
) -> None:
    rows = (*mean.unbind(0), *(var * (values / (values - 1))).unbind(0))
    torch._foreach_lerp_([*means, *vars], rows, momentum)
    torch._foreach_add_(counts, 1)


def _fake(
    means: list[Tensor],
    vars: list[Tensor],
    counts: list[Tensor],
    mean: Tensor,
    var: Tensor,
    momentum: float,
    values: int,
) -> None:
    return None


define(
    "update_running",
    "(Tensor(a!)[] means, Tensor(b!)[] vars, Tensor(c!)[] counts, Tensor mean, Tensor var, "
    "float momentum, int values) -> ()",
    _reference,
    _fake,
)
