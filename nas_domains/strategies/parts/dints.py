"""The losses of DiNTS's search beside that of the task."""

import torch
from torch import Tensor

from ...nn.dints.ram import ram_share
from ...nn.dints.supernet import CANDIDATE, PATH, DintsSupernet
from ...nn.relaxed import RelaxedSupernet
from .regularisers import Regulariser

__all__ = ["TopologyLosses"]


class TopologyLosses(Regulariser):
    """Makes paths and candidates decide, blocks agree on their nodes, and memory fit.

    The sum of He et al. 2021 (arXiv 2103.15954) as in MONAI's search script: the entropies of the
    sets of paths and of the candidates, the distance of the expected memory's share from a wanted
    one, and ``agreement`` times :meth:`nas_domains.nn.dints.topology.Topology.entropy`; all
    weighed by the share of the search behind its warm-up, so that the task's loss speaks first.

    Args:
        ram: The share of the whole supernet's memory that is wanted, 0 to 1.
        agreement: Weight of the topology loss.
        start: Share of the search at which architecture parameters begin to learn.
    """

    def __init__(self, ram: float = 0.2, agreement: float = 1e-3, start: float = 0.5) -> None:
        self.ram, self.agreement, self.start = ram, agreement, start

    def __call__(self, supernet: RelaxedSupernet, share: float) -> Tensor:
        """See :class:`Regulariser`; the supernet is one of DiNTS."""
        assert isinstance(supernet, DintsSupernet)
        topology, blocks = supernet.frame.topology, supernet.frame.blocks
        paths = supernet.relaxation.expected(supernet.parameters_of(PATH))
        on = paths[:, 1].reshape(blocks, -1)
        sets = topology.probabilities(on)
        candidates = supernet.relaxation.expected(supernet.parameters_of(CANDIDATE))
        # As in the script, means over all entries.
        undecided = -(sets * torch.log(sets + 1e-5)).mean() + torch.special.entr(candidates).mean()
        given = supernet.scaled(PATH, paths)[:, 1].reshape(blocks, -1)
        taken = ram_share(supernet.frame, given, candidates.reshape(*on.shape, -1))
        loss: Tensor = (
            undecided + (self.ram - taken).abs() + self.agreement * topology.entropy(sets)
        )
        return max(0.0, share - self.start) / (1 - self.start) * loss
