"""Scores of architectures by proxies, without training."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from ...core import registry
from ...core.architecture import Architecture
from ...core.errors import UsageError
from ...core.evaluate import Evaluator, Fidelity, Metrics
from ...core.seeds import derive, generator
from ...hardware.cost import counted
from ..context import Context
from ..stream import gather
from ..train import fresh
from .base import Proxy

SAMPLES = 32
"""Of the batch, as of NAS-Bench-Suite-Zero's (Krishnakumar et al. 2022, arXiv 2210.03230)."""


class ProxyEvaluator(Evaluator):
    """Scores an architecture's untrained network by proxies, on one batch for all.

    Args:
        context: Of the run; the batch is drawn from the training split by its seed.
        names: Of registered proxies; all where None.
        samples: Of the batch, at least 2; the whole split where it has fewer.

    Attributes:
        batch: (x, y) on the context's device.

    Raises:
        UsageError: An unknown proxy, one named twice, none, or fewer than two samples.
    """

    def __init__(
        self, context: Context, names: Sequence[str] | None = None, *, samples: int = SAMPLES
    ) -> None:
        known = [entry.name for entry in registry.proxies]
        chosen = known if names is None else list(names)
        if not chosen or len(set(chosen)) < len(chosen):
            raise UsageError(
                f"The proxies {', '.join(chosen) or 'none'} must be at least one and none twice: "
                f"known are {', '.join(known)}."
            )
        if samples < 2:
            raise UsageError(f"samples={samples} of the proxies is too few: use at least 2.")
        self.context = context
        self.proxies: dict[str, Proxy] = {name: registry.proxies.get(name) for name in chosen}
        split = context.task.train
        order = torch.randperm(len(split), generator=generator(context.seed, "proxies", "batch"))
        self.batch = context.to_device(*gather(split, order[:samples].tolist()))

    def __call__(self, architecture: Architecture, fidelity: Fidelity, *, trial: int) -> Metrics:
        """See :class:`Evaluator`; nothing is trained, so the fidelity does not matter.

        Returns:
            The score of each proxy, None where it is not finite, then ``params`` and ``macs``.
        """
        context = self.context
        network = self.network(architecture, trial)
        seed = derive(context.seed, "proxies", trial)
        metrics: Metrics = {}
        for name, proxy in self.proxies.items():
            value = proxy(network, *self.batch, context.task.loss, seed=seed)
            metrics[name] = value if math.isfinite(value) else None
        return metrics | counted(network, context.task.input_shape)

    def network(self, architecture: Architecture, trial: int) -> nn.Module:
        """The network of a trial, freshly initialised, on the context's device."""
        fresh(self.context, f"proxies/{trial}")
        task = self.context.task
        network = self.context.space.build(architecture, task.input_shape, task.outputs)
        return network.to(self.context.device)
