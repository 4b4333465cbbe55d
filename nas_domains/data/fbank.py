"""Filter banks as Kaldi has them: what the Audio Spectrogram Transformer sees of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .audio import Wave
from .mel import MelShape


@dataclass(frozen=True)
class Heard:
    """What a checkpoint was pretrained on.

    Attributes:
        rate: Samples a second.
        bins: Mel bands.
        mean: Of all values.
        std: Their standard deviation; values are brought to half of it (Gong et al. 2021).
        frames: Frames at most.
    """

    rate: int
    bins: int
    mean: float
    std: float
    frames: int


@dataclass(frozen=True)
class FbankShape(MelShape):
    """Frames as transformers' ``ASTFeatureExtractor`` makes them: none looks beyond the ends."""

    @property
    def samples(self) -> int:
        """Samples that all frames look at."""
        return (self.frames - 1) * self.hop + self.window

    def spectra(self, waves: Sequence[Wave]) -> Tensor:
        """[N, 1, bins, frames], not normalised: the start of longer recordings.

        Behind shorter ones are zeros, as the extractor has it, which do not look like silence.
        """
        from transformers import ASTFeatureExtractor

        extractor = ASTFeatureExtractor(
            sampling_rate=self.rate,
            num_mel_bins=self.bins,
            max_length=self.frames,
            do_normalize=False,
        )
        # One frame at least.
        cut = [np.pad(w, (0, max(0, self.window - len(w))))[: self.samples] for w in waves]
        rows = [extractor(w, sampling_rate=self.rate)["input_values"][0] for w in cut]
        return torch.from_numpy(np.stack(rows)).transpose(1, 2)[:, None].contiguous()
