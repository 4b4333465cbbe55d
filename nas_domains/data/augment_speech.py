"""Random changes of a training batch of log-mel spectrograms, as :mod:`.augment` has of images.

Inputs are normalised, so that zero is the training mean.
"""

import torch
from torch import Tensor

from .augment import Step


def timeshift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Moves each spectrogram by up to a tenth of its length in time; its end frames repeat.

    Args:
        x: Spectrograms [B, C, F, T].
        generator: CPU generator; it advances by B numbers.

    Returns:
        [B, C, F, T].
    """
    return _moved(x, 3, max(1, x.shape[3] // 10), generator)


def pitch(x: Tensor, generator: torch.Generator) -> Tensor:
    """Moves each spectrogram up or down by as many as a sixteenth of its bands.

    A voice with a shorter or longer vocal tract has its formants moved about so, after Jaitly &
    Hinton 2013 (vocal tract length perturbation), by whole bands.

    Args:
        x: Spectrograms [B, C, F, T].
        generator: CPU generator; it advances by B numbers.

    Returns:
        [B, C, F, T].
    """
    return _moved(x, 2, max(1, x.shape[2] // 16), generator)


def specaugment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Sets a run of up to a fifth of the bands, and one of up to a fifth of the frames, to zero.

    Park et al. 2019 (arXiv 1904.08779), one mask each; lengths and places are uniform.

    Args:
        x: Spectrograms [B, C, F, T].
        generator: CPU generator; it advances by 4B numbers.

    Returns:
        [B, C, F, T].
    """
    bands = _run(len(x), x.shape[2], generator).to(x.device)
    frames = _run(len(x), x.shape[3], generator).to(x.device)
    return x.masked_fill((bands[:, :, None] | frames[:, None, :])[:, None], 0.0)


def _moved(x: Tensor, dim: int, reach: int, generator: torch.Generator) -> Tensor:
    length = x.shape[dim]
    offset = torch.randint(-reach, reach + 1, (len(x), 1), generator=generator)
    position = (torch.arange(length) + offset).clamp(0, length - 1).to(x.device)
    shape = [len(x), 1, 1, 1]
    shape[dim] = length
    return x.gather(dim, position.reshape(shape).expand_as(x))


def _run(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Mask [count, length] of a run of 0 to length // 5 positions in each row."""
    size = torch.randint(0, length // 5 + 1, (count, 1), generator=generator)
    draw = torch.rand((count, 1), generator=generator, dtype=torch.float64)
    start = (draw * (length - size + 1)).floor()
    position = torch.arange(length)
    return (position >= start) & (position < start + size)


STEPS: dict[str, Step] = {"timeshift": timeshift, "pitch": pitch, "specaugment": specaugment}
"""Names of the ``augment`` option, of speech."""
