"""Elastic depth: a stage that skips its last blocks."""

from collections.abc import Sequence

from torch import Tensor, nn

from ...core.errors import UsageError
from .base import Elastic, plain


class ElasticDepth(Elastic):
    """Blocks one after the other, of which the first ``depth`` run (Cai et al. 2020).

    The size after each block must not depend on how many follow. A single block with ``least`` 0
    is one that can be switched off.

    Args:
        blocks: The blocks, elastic themselves or not.
        least: The least depth, 0 or more.

    Raises:
        UsageError: Fewer blocks than the least depth.
    """

    def __init__(self, blocks: Sequence[nn.Module], *, least: int = 1) -> None:
        if not 0 <= least <= len(blocks):
            raise UsageError(
                f"least={least} of ElasticDepth must be from 0 to its {len(blocks)} blocks."
            )
        super().__init__(nn.Sequential(*blocks), {"depth": len(blocks)}, {"depth": least})

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last active block."""
        for block in list(self.whole)[: self.active["depth"]]:
            x = block(x)
        return x

    def extract(self) -> nn.Sequential:
        """The active blocks as plain ones; see :meth:`Elastic.extract`."""
        blocks = [plain(block) for block in list(self.whole)[: self.active["depth"]]]
        return nn.Sequential(*blocks).train(self.training)
