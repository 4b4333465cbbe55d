"""Scores of architectures in a supernet's shared weights, with batch-norm statistics of their own.

The running statistics of a supernet are those of the paths that were trained last, not of the
path that is scored, and paths need different ones (Guo et al. 2020, section 3.4; Yu et al. 2020).
So a path's statistics are measured anew before each score, and put back behind it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.architecture import Architecture
from ..core.errors import UsageError
from ..core.evaluate import Evaluator, Fidelity, Metrics
from ..core.history import SEARCH
from ..core.seeds import derive
from ..hardware.meters import measured
from ..nn.supernet import Supernet
from .context import Context
from .halves import path_data
from .score import costs, evaluate
from .stream import Stream


def tracking_norms(network: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a network that keep running statistics."""
    return [
        m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None
    ]


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measures batch-norm statistics anew: each becomes the mean over the batches.

    Norms that the network does not run (those of a supernet's other paths) are reset all the same;
    :func:`kept_statistics` puts all of them back.

    Args:
        network: A plain network, or a supernet after ``set_architecture``; its mode is left as it
            was.
        batches: Training inputs [B, ...] on the network's device.

    Raises:
        UsageError: No batches.
    """
    norms = tracking_norms(network)
    momenta = [norm.momentum for norm in norms]
    was_training = [m for m in network.modules() if m.training]
    # Only norms are in training: dropped paths and units are none of what is scored.
    network.eval()
    seen = 0
    try:
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
        for seen, x in enumerate(batches, 1):
            # The last batch weighs 1 / seen, which makes a plain mean of what is otherwise a
            # decaying one; a momentum of None would do so too, but not for every op that stands
            # for a norm.
            for norm in norms:
                norm.momentum = 1 / seen
            network(x)
    finally:
        network.eval()
        for module in was_training:
            module.training = True
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    if not seen:
        raise UsageError(
            "Batch-norm statistics cannot be measured on no data: give recalibrate at least one "
            "batch."
        )


@contextmanager
def kept_statistics(network: nn.Module) -> Iterator[None]:
    """Batch-norm statistics that change within the block are put back bit for bit behind it."""
    # All, and not those of the norms that run now: others may run within the block.
    buffers = list(network.buffers())
    before = [b.clone() for b in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


class SupernetEvaluator(Evaluator):
    """Scores a path of a supernet on data that its weights never saw; see :func:`path_data`.

    The same architecture and weights give the same metrics, whatever was scored before: statistics
    are measured on the same batches for all, without augmentation, as scoring is.

    Args:
        context: Of the run.
        supernet: With trained weights, on the context's device; any module that has the
            ``set_architecture`` of :class:`nas_domains.nn.supernet.Supernet`.
        samples: About how many training samples statistics are measured on; at most one pass over
            the half that weights learn on.
    """

    def __init__(self, context: Context, supernet: Supernet, samples: int = 1024) -> None:
        self.context, self.supernet = context, supernet
        first, self.split, self.indices = path_data(context)
        seed = derive(context.seed, SEARCH, "recalibrate")
        self.stream = Stream(context.task.train, context.batch_size, seed, first)
        wanted = max(1, round(samples / self.stream.batch_size))
        self.number = min(wanted, self.stream.steps_per_epoch)
        # Measured only where it is asked for: it costs more than all the rest of a score.
        self.latency = any(o.metric == "latency_ms" for o in context.objectives)

    @property
    def scored(self) -> int:
        """How many samples paths are scored on."""
        return len(self.split) if self.indices is None else len(self.indices)

    def batches(self) -> Iterator[Tensor]:
        """The inputs [B, ...] on which statistics are measured, the same for every path."""
        for i in range(self.number):
            yield self.context.to_device(*self.stream.batch(i))[0]

    def __call__(
        self, architecture: Architecture, fidelity: Fidelity, *, trial: int = 0
    ) -> Metrics:
        """See :class:`Evaluator`; nothing here is random, so the trial does not count.

        Returns:
            The task's metrics on the held-out data, and ``params`` and ``macs`` (``latency_ms``
            where an objective names it) of the plain network.
        """
        context, task = self.context, self.context.task
        self.supernet.set_architecture(architecture)
        with kept_statistics(self.supernet):
            if tracking_norms(self.supernet):
                with context.accelerator.autocast():
                    recalibrate(self.supernet, self.batches())
            metrics = evaluate(self.supernet, self.split, context, self.indices)
        network = context.space.build(architecture, task.input_shape, task.outputs)
        metrics |= costs(network.to(context.device), task, latency=self.latency)
        return metrics | measured(network, task, context.objectives)
