"""The proxy ``naswot``: how unlike the activation codes of the inputs are."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ...core.errors import UsageError
from .base import Loss, Proxy

_ATEN = torch.ops.aten
RECTIFIERS = frozenset(
    getattr(_ATEN, name + ending)
    for name in ("relu", "leaky_relu", "hardtanh", "hardswish", "silu", "gelu", "elu")
    for ending in ("", "_")
)
"""Activations with a kink or a bend at 0; ``hardtanh`` is what ReLU6 calls."""


class NasWot(Proxy):
    """log |det K|, K[i, j] being the units whose activation is on, or off, for both i and j.

    A unit is on where its input is above 0. ReLUs count wherever they stand, in modules or in
    functions; so do leaky ReLU, ReLU6, hard-swish, SiLU, GELU and ELU, which the paper leaves
    out. Mellor et al. 2021, Neural Architecture Search without Training (arXiv 2006.04647).
    """

    name = "naswot"

    def score(self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
        """See :meth:`Proxy.score`; targets do not matter."""
        codes = _Codes(len(x))
        with torch.no_grad(), codes:
            network(x)
        if not codes.kernel.any():
            raise UsageError(
                f"The proxy {self.name!r} needs a network with ReLUs or the like: use jacov or "
                "synflow."
            )
        return float(np.linalg.slogdet(codes.kernel)[1])


class _Codes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums K over the activations that run within the block."""

    def __init__(self, samples: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.samples = samples
        self.kernel = np.zeros((samples, samples))

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # Before the call, for it may change its input in place.
        if function.overloadpacket in RECTIFIERS and len(args[0]) % self.samples == 0:
            self._add(args[0])
        return function(*args, **(kwargs or {}))

    def _add(self, x: Tensor) -> None:
        codes = torch.where(x > 0, 1.0, -1.0).reshape(self.samples, -1)
        # Equal minus unequal units; whole numbers, exact in float32 up to 2^24.
        difference = (codes @ codes.T).double().cpu().numpy()
        self.kernel += (codes.shape[1] + difference) / 2
