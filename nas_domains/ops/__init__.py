"""Torch operators of this package: one contract each, with several kernels."""

from .backend import active, available, backend, choice, info
from .norm_weighted_sum import norm_weighted_sum
from .weighted_sum import weighted_sum

__all__ = [
    "active",
    "available",
    "backend",
    "choice",
    "info",
    "norm_weighted_sum",
    "weighted_sum",
]
