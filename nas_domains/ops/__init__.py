"""Torch operators of this package: one contract each, with several kernels."""

from .backend import active, available, backend, choice, info
from .sample_paths import sample_paths
from .weighted_sum import weighted_sum

__all__ = ["active", "available", "backend", "choice", "info", "sample_paths", "weighted_sum"]
