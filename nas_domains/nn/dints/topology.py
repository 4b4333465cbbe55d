"""Topologies of DiNTS: which paths between resolutions are there in each block.

After He et al. 2021, "DiNTS: Differentiable Neural Network Topology Search for 3D Medical Image
Segmentation", arXiv 2103.15954. The order of paths and of sets of paths is that of MONAI.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Path", "Topology"]

Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Path:
    """A way through one block.

    Attributes:
        source: Resolution that it reads; 0 is the finest.
        target: Resolution that it adds to.
    """

    source: int
    target: int

    @property
    def rate(self) -> int:
        """1 where the resolution is doubled, -1 where it is halved, 0 where it stays."""
        return self.source - self.target

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


class Topology:
    """Blocks one after the other, each with the paths between neighbouring resolutions.

    A topology is connected where each block reads just the resolutions that the block before it
    gives. Arrays of paths are boolean [blocks, P]; those of nodes [blocks + 1, depths], the first
    row being the inputs.

    Args:
        blocks: Number of blocks.
        depths: Number of resolutions.
    """

    def __init__(self, blocks: int, depths: int) -> None:
        self.blocks, self.depths = blocks, depths
        self.paths = [
            Path(source, target)
            for target in range(depths)
            for source in range(max(0, target - 1), min(depths, target + 2))
        ]

    @cached_property
    def _ends(self) -> tuple[Bools, Bools]:
        """Which paths read, and which give, each resolution: [P, depths] each."""
        rows = np.eye(self.depths, dtype=bool)
        return rows[[p.source for p in self.paths]], rows[[p.target for p in self.paths]]

    def nodes(self, active: Bools) -> Bools:
        """The nodes that paths touch: what the first block reads, then what each block gives."""
        reads, gives = self._ends
        return np.concatenate([active[:1] @ reads, active @ gives])

    def pruned(self, active: Bools) -> Bools:
        """The paths that lie on a way from an input to an output; none where there is no way."""
        reads, gives = self._ends
        kept = active.copy()
        reached = np.ones(self.depths, dtype=bool)
        for row in kept:
            row &= reads @ reached
            reached = row @ gives
        needed = np.ones(self.depths, dtype=bool)
        for row in kept[::-1]:
            row &= gives @ needed
            needed = row @ reads
        return kept

    @cached_property
    def sets(self) -> Bools:
        """All sets of paths of a block but the empty one, [2^P - 1, P], in MONAI's order."""
        count = len(self.paths)
        numbers = np.arange(1, 2**count)[:, None]
        found: Bools = (numbers >> np.arange(count)[::-1]) % 2 == 1
        return found

    @cached_property
    def _numbers(self) -> tuple[Any, Any]:
        """For each set of paths, the set of nodes that it reads, and that it gives, as numbers."""
        bits = 2 ** np.arange(self.depths)
        reads, gives = self._ends
        return (self.sets @ reads) @ bits, (self.sets @ gives) @ bits

    def probabilities(self, on: Tensor) -> Tensor:
        """The probability of each set of paths but the empty one, [blocks, 2^P - 1].

        Args:
            on: Probability of each path by itself, [blocks, P].
        """
        sets = torch.from_numpy(self.sets).to(on.device)
        # A product and not a sum of logarithms, whose gradient is not defined at 0 and 1.
        each = torch.where(sets, on[:, None, :], 1 - on[:, None, :]).prod(-1)
        some = 1 - (1 - on).prod(-1, keepdim=True)
        result: Tensor = each / some
        return result

    def entropy(self, probabilities: Tensor) -> Tensor:
        """How little blocks agree on the nodes between them (the paper's topology loss), a scalar.

        The cross entropy of each set of nodes being what a block gives against what the next
        block reads, summed over sets and blocks.

        Args:
            probabilities: Those of :meth:`probabilities`.
        """
        reads, gives = (torch.from_numpy(n).to(probabilities.device) for n in self._numbers)
        size = 2**self.depths
        zeros = probabilities.new_zeros(self.blocks, size)
        given = zeros.index_add(1, gives, probabilities)[:-1, 1:]
        read = zeros.index_add(1, reads, probabilities)[1:, 1:]
        agree = given * torch.log(read + 1e-5)
        result: Tensor = -(agree + (1 - given) * torch.log(1 - read + 1e-5)).sum()
        return result

    def decode(self, on: Tensor) -> Bools:
        """The most probable connected topology, as the shortest path over sets of paths.

        Args:
            on: Probability of each path by itself, [blocks, P].
        """
        costs = -np.log(self.probabilities(on.detach().double().cpu()).numpy() + 1e-5)
        reads, gives = self._numbers
        size = 2**self.depths
        total, before = costs[0], []
        for cost in costs[1:]:
            # The cheapest way to each set of nodes, then on from there.
            cheapest = np.full(size, -1)
            order = np.argsort(total, kind="stable")[::-1]
            cheapest[gives[order]] = order
            before.append(cheapest[reads])
            total = np.where(before[-1] >= 0, total[before[-1]], np.inf) + cost
        last = int(np.argmin(total))
        chosen = [last]
        for back in reversed(before):
            last = int(back[last])
            chosen.append(last)
        found: Bools = self.sets[chosen[::-1]]
        return found

    def straight(self) -> Bools:
        """The finest resolution alone."""
        active = np.zeros((self.blocks, len(self.paths)), dtype=bool)
        active[:, 0] = True
        return active
