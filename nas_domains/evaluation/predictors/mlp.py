"""The predictor ``mlp``: an ensemble of perceptrons."""

import numpy as np
import torch
from torch import Tensor

from ...core.seeds import generator
from .base import Array, Predictor

MEMBERS = 5
HIDDEN = 32
STEPS = 200
LR = 0.01
HALF = 0.6745
"""Standard deviations from the mean of a Gaussian within which half of it lies."""
DECAY = 1.0
"""Decoupled weight decay: scores of architectures are few and features many."""


class MlpEnsemble(Predictor):
    """Perceptrons of two hidden layers, each fitted without another fifth of the data.

    The variance is that between members plus that of what they missed on the fifths that they had
    not seen, read off the median: members alone are too sure.
    After Lakshminarayanan et al. 2017 (arXiv 1612.01474) and, as a surrogate, BANANAS (White et
    al. 2021, arXiv 1910.11858). Full-batch AdamW, all members at once.
    """

    name = "mlp"

    def learn(self, x: Array, y: Array) -> None:
        """See :meth:`Predictor.learn`."""
        draws = generator(self.seed, "mlp")
        members = min(MEMBERS, len(x))
        part = torch.randperm(len(x), generator=draws) % members
        seen = (part[None] != torch.arange(members)[:, None]).float()
        inputs, truth = (torch.from_numpy(v).float() for v in (x, y))
        self._layers = [
            layer.requires_grad_()
            for a, b in ((x.shape[1], HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1))
            for layer in (
                torch.randn((members, a, b), generator=draws) * (2 / a) ** 0.5,
                torch.zeros((members, 1, b)),
            )
        ]
        optimizer = torch.optim.AdamW(self._layers, lr=LR, weight_decay=DECAY)
        with torch.inference_mode(False), torch.enable_grad():
            for step in range(STEPS):
                optimizer.param_groups[0]["lr"] = LR * (1 - step / STEPS)
                optimizer.zero_grad()
                missed = (self._outputs(inputs) - truth).square()
                ((missed * seen).sum(1) / seen.sum(1)).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        with torch.no_grad():
            outputs = self._outputs(inputs)
            missed = (outputs - truth).abs()[part, torch.arange(len(x))]
            # A median, for a few architectures that do not learn would drown all others.
            self._noise = float(missed.median()) / HALF

    def infer(self, x: Array) -> tuple[Array, Array]:
        """See :meth:`Predictor.infer`."""
        with torch.no_grad():
            each = self._outputs(torch.from_numpy(x).float()).double().numpy()
        return each.mean(0), np.sqrt(each.var(0) + self._noise**2)

    def _outputs(self, x: Tensor) -> Tensor:
        """[N, D] -> [members, N]."""
        w1, b1, w2, b2, w3, b3 = self._layers
        hidden = ((x @ w1 + b1).relu() @ w2 + b2).relu()
        return (hidden @ w3 + b3).squeeze(2)
