"""An elastic batch norm: the first channels of shared statistics and affine parameters."""

from typing import Any

from torch import Tensor, nn

from ..candidates import NORM, check_dims
from .base import Elastic, check_sizes, filled


class ElasticNorm(Elastic):
    """A batch norm over the first ``channels``, which is its only size.

    In training the running statistics of those channels alone are moved. They mix what comes from
    all sizes that ran, so those of an extracted network are estimated anew before it is scored
    (Yu & Huang 2019, arXiv 1903.05134).

    Args:
        channels: Largest number of channels.
        dims: Spatial dimensions, 1 to 3.
        **options: Of torch's batch norm, e.g. ``eps``, ``momentum``, ``affine``.

    Raises:
        UsageError: A size below 1.
    """

    def __init__(self, channels: int, *, dims: int = 2, **options: Any) -> None:
        check_dims(dims)
        check_sizes("ElasticNorm", channels=channels)
        super().__init__(NORM[dims](channels, **options), {"channels": channels})
        self.dims, self.options = dims, options

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, ...] -> [B, channels, ...]."""
        whole, channels = self.whole, self.active["channels"]
        records = whole.training and whole.track_running_stats
        momentum = whole.momentum
        if records and whole.num_batches_tracked is not None:
            whole.num_batches_tracked.add_(1)
            # As torch has it: without a momentum the running statistics are plain means.
            momentum = 1 / int(whole.num_batches_tracked) if momentum is None else momentum
        used = records or not whole.training

        def first(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[:channels]

        return nn.functional.batch_norm(
            x,
            first(whole.running_mean) if used else None,
            first(whole.running_var) if used else None,
            first(whole.weight),
            first(whole.bias),
            whole.training or whole.running_mean is None,
            momentum or 0.0,
            whole.eps,
        )

    def extract(self) -> nn.Module:
        """The plain batch norm; see :meth:`Elastic.extract`."""
        channels = self.active["channels"]
        layer = NORM[self.dims](channels, **self.options, device="meta")
        state = self.whole.state_dict()
        own = {name: t[:channels] if t.dim() else t for name, t in state.items()}
        return filled(layer, own).train(self.training)
