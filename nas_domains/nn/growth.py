"""Growing partial channels: a wider edge that goes on from what a narrow one has learnt."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .mixed import MixedOp

__all__ = ["embedded", "grow"]


def grow(network: nn.Module, partial: int) -> dict[nn.Parameter, nn.Parameter]:
    """Replaces the mixed operations of a network by ones with larger shares of the channels.

    The progressive learning of DrNAS (Chen et al. 2021, arXiv 2006.10355, section 3.3): the
    channels that have been running keep their weights, and those that join start anew and are not
    heard by the others at first.

    Args:
        network: Changed in place.
        partial: Shares that channels are cut into from now on, at most as many as before.

    Returns:
        The old parameter -> the one in its place, of all edges; no other parameter changes.
    """
    replaced: dict[nn.Parameter, nn.Parameter] = {}
    for parent in list(network.modules()):
        for name, edge in list(parent.named_children()):
            if isinstance(edge, MixedOp) and edge.partial > partial:
                wide = edge.with_partial(partial)
                _take_over(edge, wide)
                setattr(parent, name, wide)
                new = dict(wide.named_parameters())
                replaced |= {old: new[key] for key, old in edge.named_parameters()}
    return replaced


@torch.no_grad()
def _take_over(narrow: MixedOp, wide: MixedOp) -> None:
    like = narrow.order.device, next((p.dtype for p in narrow.parameters()), None)
    wide.to(*like).train(narrow.training)
    state: Mapping[str, Tensor] = narrow.state_dict()
    for key, own in wide.state_dict().items():
        own.copy_(embedded(state[key], own))


def embedded(small: Tensor, large: Tensor) -> Tensor:
    """``large`` with ``small`` as its leading block.

    In a weight [out, in, ...] the small one's outputs have zeros for the inputs that are new.

    Args:
        small: Of the same number of dimensions, no side longer.
        large: What the rest is taken from.
    """
    found = large.clone()
    if small.dim() > 1:
        found[: small.shape[0], small.shape[1] :] = 0
    found[tuple(slice(side) for side in small.shape)] = small
    return found
