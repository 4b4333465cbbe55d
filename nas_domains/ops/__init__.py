"""Torch operators of this package: one contract each, with several kernels."""

from .backend import active, available, backend, choice, info
from .mixed_edge import mixed_edge
from .weighted_sum import weighted_sum

__all__ = ["active", "available", "backend", "choice", "info", "mixed_edge", "weighted_sum"]
