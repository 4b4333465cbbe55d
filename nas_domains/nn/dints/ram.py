"""The memory that DiNTS networks take, as MONAI estimates it."""

import torch
from torch import Tensor

from .layers import CANDIDATES
from .network import Frame

__all__ = ["ram_costs", "ram_share"]


def ram_costs(frame: Frame) -> Tensor:
    """What each candidate of each path keeps, in maps of its output's size: [paths, K].

    The ReLU, each convolution and the norm keep their result; MONAI's ``ram_cost`` of the
    candidate and of what brings its input to its resolution.
    """
    rows = []
    for path in frame.topology.paths:
        ratio = frame.channels(path.source) / frame.channels(path.target)
        before = {0: 0.0, 1: 2 * ratio + 2, -1: ratio * 2**frame.dims + 3}[path.rate]
        kept = [len(kernels) + 2 if kernels else 0 for kernels in CANDIDATES[frame.dims].values()]
        rows.append([before + k for k in kept])
    return torch.tensor(rows)


def ram_share(frame: Frame, on: Tensor, candidates: Tensor) -> Tensor:
    """The expected memory as a share of that with all paths there, a differentiable scalar.

    Args:
        frame: Sizes; for sides that can be halved the share does not depend on them.
        on: Weight of each path, given that its block has one, [blocks, P].
        candidates: Weights of each path's candidates, [blocks, P, K].
    """
    costs = ram_costs(frame).to(on)
    # As in MONAI, with the channels of the image's resolutions.
    sizes = [frame.filters[p.target] / 2 ** (frame.dims * p.target) for p in frame.topology.paths]
    each = (1 + (costs * candidates).sum(-1)) * torch.tensor(sizes).to(on)
    return (on * each).sum() / each.sum()
