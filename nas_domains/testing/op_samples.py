"""The samples of all ops, each from its file, gathered in ``SAMPLES``."""

from .elastic_attention import ELASTIC_ATTENTION, ELASTIC_ATTENTION_PADDED
from .instance_weighted_sum import INSTANCE_WEIGHTED_SUM
from .norm_weighted_sum import (
    NORM_WEIGHTED_SUM,
    NORM_WEIGHTED_SUM_CHANNELS,
    NORM_WEIGHTED_SUM_GIVEN,
)
from .op_sample import LAYOUTS, OpCase, OpSample, arrange
from .weighted_sum import WEIGHTED_SUM
from .winograd import CONVOLVE, CONVOLVE_RELU

__all__ = [
    "CONVOLVE",
    "CONVOLVE_RELU",
    "ELASTIC_ATTENTION",
    "ELASTIC_ATTENTION_PADDED",
    "INSTANCE_WEIGHTED_SUM",
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
        ELASTIC_ATTENTION,
        ELASTIC_ATTENTION_PADDED,
        NORM_WEIGHTED_SUM_CHANNELS,
        INSTANCE_WEIGHTED_SUM,
        CONVOLVE,
        CONVOLVE_RELU,
    )
}
