"""One recording to samples: any depth and number of channels, one channel and rate out."""

import os
from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt

from ..core.errors import UsageError

Wave = npt.NDArray[np.float32]
"""Samples [T] of one channel, full scale at -1 and 1."""


@dataclass(frozen=True)
class AudioInfo:
    """What is known of a recording before its samples are decoded.

    Attributes:
        rate: Samples a second.
        frames: Samples of each channel.
        channels: Number of channels.
    """

    rate: int
    frames: int
    channels: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.frames / self.rate


_UNKNOWN = 2**62
_HEADER = 1 << 16
"""Samples that no recording has, and bytes that the header of an empty one has at most."""


def read_info(path: str) -> AudioInfo:
    """Reads the header of a wav or flac file.

    Raises:
        UsageError: The file is missing, empty, no recording, or holds no samples.
    """
    import soundfile

    _check_file(path)
    try:
        found = soundfile.info(path)
    except (soundfile.SoundFileError, OSError):
        raise _broken(path) from None
    # Of a stream that was encoded as it came, libsndfile gives the most there can be, or none.
    if found.frames >= _UNKNOWN or (found.frames < 1 and os.path.getsize(path) > _HEADER):
        raise UsageError(f"The header of {path!r} does not say how long it is: encode it anew.")
    if found.frames < 1:
        raise UsageError(f"{path!r} holds no samples: remove it, or record it again.")
    return AudioInfo(int(found.samplerate), int(found.frames), int(found.channels))


def read_wave(path: str, rate: int) -> Wave:
    """Reads a wav or flac file of 8 to 32 bits or floating point.

    Channels are averaged. Another sampling rate is brought to the one asked for by a polyphase
    filter, which keeps what is below half of the lower rate.

    Args:
        path: The file.
        rate: Samples a second of what is returned.

    Raises:
        UsageError: As :func:`read_info`, or samples that are not finite.
    """
    import soundfile

    _check_file(path)
    try:
        samples, stored = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError):
        raise _broken(path) from None
    if not len(samples):
        raise UsageError(f"{path!r} holds no samples: remove it, or record it again.")
    broken = np.flatnonzero(~np.isfinite(samples).all(1))
    if len(broken):
        raise UsageError(f"{path!r} holds a NaN or infinite sample, the first at {broken[0]}.")
    return resampled(samples.mean(1, dtype=np.float32), int(stored), rate)


def resampled(wave: Wave, stored: int, rate: int) -> Wave:
    """Brings samples [T] from the rate ``stored`` to ``rate``: [ceil(T * rate / stored)]."""
    if stored == rate:
        return wave
    from scipy.signal import resample_poly

    common = gcd(stored, rate)
    changed: Wave = resample_poly(wave, rate // common, stored // common).astype(np.float32)
    return changed


def _check_file(path: str) -> None:
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise UsageError(f"{path!r} is empty.")
    except FileNotFoundError:
        raise UsageError(f"No such file: {path!r}.") from None
    except PermissionError:
        raise UsageError(f"No permission to read {path!r}.") from None
    except OSError:
        raise _broken(path) from None


def _broken(path: str) -> UsageError:
    ending = os.path.splitext(path)[1].lower().lstrip(".") or "wav"
    return UsageError(
        f"{path!r} cannot be read as {ending}: it is no recording, or damaged."
    )
