"""Attention of the first heads of a layer by the kernel that reads its weights where they lie."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...ops.backend import resolved
from ...ops.elastic_attention import elastic_attention
from ..encoder import attend


def attend_in_place(
    x: Tensor,
    keep: Tensor,
    project_in: Sequence[tuple[Tensor, Tensor]],
    project_out: tuple[Tensor, Tensor],
    heads: int,
    head_size: int,
    dropout: float = 0.0,
) -> Tensor:
    """As :func:`nas_domains.nn.encoder.attend`, by :func:`nas_domains.ops.elastic_attention`.

    That runs on CPUs where it is compiled, without dropout in the attention, and where only what
    stands behind a text is not attended to; its outputs there are zero. Elsewhere it is the same
    as ``attend``.

    Args:
        x: As there, like the others.
        keep: As there.
        project_in: As there.
        project_out: As there.
        heads: As there.
        head_size: As there.
        dropout: As there.

    Returns:
        [B, T, D].
    """
    native = x.device.type == "cpu" and resolved("elastic_attention_fwd", "cpu") == "native"
    if dropout or not native or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return attend(x, keep, project_in, project_out, heads, head_size, dropout)
    lengths = keep.sum(1)
    padded = bool((lengths < keep.shape[1]).any())
    if padded and not torch.equal(keep, torch.arange(keep.shape[1]) < lengths[:, None]):
        return attend(x, keep, project_in, project_out, heads, head_size, dropout)
    weights, biases = zip(*project_in, project_out, strict=True)
    return elastic_attention(
        x, weights, biases, head_dim=head_size, heads=heads, lengths=lengths if padded else None
    )
