"""Torch operators of this package: one contract each, with several kernels."""

from . import depthwise_bank, running_statistics  # noqa: F401  (they define ops of others)
from .backend import active, available, backend, choice, info
from .elastic_attention import elastic_attention
from .instance_weighted_sum import instance_weighted_sum
from .mixed_edge import mixed_edge
from .norm_weighted_sum import norm_weighted_sum
from .sample_paths import sample_paths
from .weighted_sum import weighted_sum
from .winograd import convolve

__all__ = [
    "active",
    "available",
    "backend",
    "choice",
    "convolve",
    "elastic_attention",
    "info",
    "instance_weighted_sum",
    "mixed_edge",
    "norm_weighted_sum",
    "sample_paths",
    "weighted_sum",
]
