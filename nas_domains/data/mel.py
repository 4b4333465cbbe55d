"""Log-mel spectrograms: what networks for speech see of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.errors import UsageError
from .audio import Wave, read_wave

WINDOW = 0.025
"""Seconds that each frame looks at."""
HOP = 0.01
"""Seconds from one frame to the next."""
FLOOR = 1e-6
"""The least power whose logarithm is taken."""

_LOWEST = 20.0
_CHUNK = 256


@dataclass(frozen=True)
class MelShape:
    """How recordings become log-mel spectrograms of one shape.

    Attributes:
        rate: Samples a second.
        frames: Frames of 25 ms, one each 10 ms; what is longer is cropped, what is shorter padded.
        bins: Mel bands from 20 Hz to half the rate.
    """

    rate: int
    frames: int
    bins: int

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return max(1, round(HOP * self.rate))

    @property
    def window(self) -> int:
        """Samples that each frame looks at."""
        return max(2, round(WINDOW * self.rate))

    @property
    def samples(self) -> int:
        """Samples of a recording of this shape: the centres of all its frames lie in it."""
        return (self.frames - 1) * self.hop + 1

    @property
    def size(self) -> tuple[int, int, int]:
        """Shape of one spectrogram, (1, bins, frames)."""
        return 1, self.bins, self.frames

    def spectra(self, waves: Sequence[Wave]) -> Tensor:
        """Spectrograms of recordings, [N, 1, bins, frames]."""
        fit = [fitted(wave, self.samples) for wave in waves]
        return log_mel(torch.from_numpy(np.stack(fit)), self)


def fitted(wave: Wave, samples: int) -> Wave:
    """The middle ``samples`` of a recording, or the recording in the middle of silence."""
    excess = len(wave) - samples
    if excess >= 0:
        start = excess // 2
        return wave[start : start + samples]
    return np.pad(wave, (-excess // 2, -excess - -excess // 2))


def log_mel(waves: Tensor, shape: MelShape) -> Tensor:
    """The natural logarithm of mel-band powers, as transformers' ``spectrogram`` has them.

    Bands are triangles on HTK's mel scale; the window is Hann's, centred on its frame.

    Args:
        waves: Samples [B, shape.samples], float32.
        shape: Rate, frames and bands.

    Returns:
        [B, 1, bins, frames], float32, not below log(FLOOR).
    """
    from transformers.audio_utils import mel_filter_bank

    # Twice the next power of two: then even the lowest, narrowest bands hold a frequency.
    length = 2 << (shape.window - 1).bit_length()
    bank = mel_filter_bank(
        num_frequency_bins=length // 2 + 1,
        num_mel_filters=shape.bins,
        min_frequency=_LOWEST,
        max_frequency=shape.rate / 2,
        sampling_rate=shape.rate,
        mel_scale="htk",
    )
    # Silence at the ends and not a mirror, which very short recordings are too short for.
    spectrum = torch.stft(
        waves,
        length,
        shape.hop,
        shape.window,
        torch.hann_window(shape.window),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power = spectrum.abs().square()
    bands = torch.from_numpy(bank.T.astype(np.float32)) @ power
    return bands.clamp_min(FLOOR).log()[:, None]


def spectrograms(paths: Sequence[str], shape: MelShape) -> Tensor:
    """Spectrograms [N, 1, bins, frames] of recordings.

    Raises:
        UsageError: A file that cannot be read.
    """
    made = torch.empty((len(paths), *shape.size))
    for start in range(0, len(paths), _CHUNK):
        waves = [read_wave(path, shape.rate) for path in paths[start:][:_CHUNK]]
        made[start : start + len(waves)] = shape.spectra(waves)
    return made


def check_bins(value: object) -> int:
    """Reads the ``bins`` option: 8 to 128 mel bands.

    Raises:
        UsageError: Anything else.
    """
    text = str(value)
    if not (text.isascii() and text.isdigit() and 8 <= int(text) <= 128):
        raise UsageError(f"bins={value!r} must be a whole number of mel bands from 8 to 128.")
    return int(text)
