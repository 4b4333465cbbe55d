"""Recordings without labels, prepared as a network's training recordings were."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..core.errors import UsageError
from .fbank import FbankShape
from .files import files_below
from .kinds import RECORDINGS
from .mel import MelShape, spectrograms
from .recordings import Spectrograms, SpeechParts
from .tables import table_rows
from .waves import Waves, read_waves


def speech_preprocess(parts: SpeechParts) -> dict[str, Any]:
    """What :func:`read_speech_inputs` needs to prepare other recordings alike; JSON-able."""
    return {
        "rate": parts.shape.rate,
        "frames": parts.shape.frames,
        "bins": parts.shape.bins,
        "mean": list(parts.mean),
        "std": list(parts.std),
        **({"kaldi": True} if isinstance(parts.shape, FbankShape) else {}),
    }


def read_speech_inputs(
    source: str, preprocess: Mapping[str, Any]
) -> tuple[list[str], Spectrograms | Waves]:
    """Reads unlabelled recordings.

    Args:
        source: A wav or flac file; a folder, read with its sub-folders in sorted order; or a CSV
            with a column path.
        preprocess: What :func:`speech_preprocess`, or
            :func:`nas_domains.data.waves.wave_preprocess`, returned for the training split.

    Returns:
        A name for each recording, and their spectrograms or samples with label 0.

    Raises:
        UsageError: There are no recordings there, or one cannot be read.
    """
    if not os.path.exists(source):
        raise UsageError(f"No such file or folder: {source!r}.")
    names: list[str]
    folder = os.path.dirname(source)
    if os.path.isdir(source):
        folder = source
        names = [os.path.relpath(path, source) for path in files_below(source, RECORDINGS)]
        if not names:
            raise UsageError(f"{source!r} holds no recordings: give a folder, a wav, flac or csv.")
    elif source.lower().endswith(".csv"):
        names = []
        for line, row in table_rows(source, ("path",)):
            if not os.path.isfile(os.path.join(folder, row["path"])):
                raise UsageError(f"{source!r}, line {line}: there is no file {row['path']!r}.")
            names.append(row["path"])
    elif RECORDINGS.matches(source):
        names = [os.path.basename(source)]
    else:
        raise UsageError(
            f"{source!r} is no recording by its ending: give a folder, a wav, flac or csv."
        )
    paths = [os.path.join(folder, name) for name in names]
    if "samples" in preprocess:
        return names, read_waves(paths, preprocess)
    kind = FbankShape if preprocess.get("kaldi") else MelShape
    shape = kind(preprocess["rate"], preprocess["frames"], preprocess["bins"])
    x = spectrograms(paths, shape)
    x.sub_(torch.tensor(preprocess["mean"])[:, None])
    x.div_(torch.tensor(preprocess["std"])[:, None])
    return names, Spectrograms(x, np.zeros(len(names), np.int64))
