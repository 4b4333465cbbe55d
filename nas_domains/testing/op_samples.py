"""The samples of all ops, each from its file, gathered in ``SAMPLES``."""

from .norm_weighted_sum import (
    NORM_WEIGHTED_SUM,
    NORM_WEIGHTED_SUM_CHANNELS,
    NORM_WEIGHTED_SUM_GIVEN,
)
from .op_sample import LAYOUTS, OpCase, OpSample, arrange
from .weighted_sum import WEIGHTED_SUM

__all__ = [
    "LAYOUTS",
    "NORM_WEIGHTED_SUM",
    "NORM_WEIGHTED_SUM_CHANNELS",
    "NORM_WEIGHTED_SUM_GIVEN",
    "SAMPLES",
    "WEIGHTED_SUM",
    "OpCase",
    "OpSample",
    "arrange",
]

SAMPLES: dict[str, OpSample] = {
    sample.name: sample
    for sample in (
        WEIGHTED_SUM,
        NORM_WEIGHTED_SUM,
        NORM_WEIGHTED_SUM_GIVEN,
        NORM_WEIGHTED_SUM_CHANNELS,
    )
}
