"""Recordings as samples, for encoders that were pretrained on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .audio import read_info, read_wave
from .files import LabelledFiles
from .recordings import cut_recordings, describe, most_frequent, usual_seconds
from .rule import SplitRule
from .splits import Groups, Labels

FULL_SCALE = 32767
Samples = npt.NDArray[np.int16]


class Waves:
    """Labelled recordings in memory, 16 bits a sample; a :class:`nas_domains.core.task.Split`.

    Attributes:
        waves: Samples of each, int16 [T], full scale at 32767.
        samples: To how many a batch is filled up with zeros behind each.
        labels: Class numbers int64 [N].
        normalised: Whether each recording is brought to zero mean and unit variance.
        groups: Speaker of each [N], or None where they are not kept apart.
    """

    def __init__(
        self,
        waves: Sequence[Samples],
        samples: int,
        labels: Labels,
        *,
        normalised: bool = True,
        groups: Groups | None = None,
    ) -> None:
        self.waves, self.samples, self.labels = list(waves), samples, labels
        self.normalised, self.groups = normalised, groups

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Some samples at once: x float32 [B, samples] and y int64 [B]."""
        index = np.asarray(indices, dtype=np.int64)
        x = np.zeros((len(index), self.samples), np.float32)
        for row, i in zip(x, index.tolist(), strict=True):
            wave = self.waves[i].astype(np.float32) / FULL_SCALE
            if self.normalised:
                # As the feature extractors of transformers have it.
                wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
            row[: len(wave)] = wave
        return torch.from_numpy(x), torch.from_numpy(self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> tuple[Tensor, int]:
        x, y = self.batch([index])
        return x[0], int(y[0])


@dataclass(frozen=True)
class WaveParts:
    """The splits of a classification of recordings.

    Attributes:
        splits: "train", "val" and "test".
        classes: Names of the classes, in the order of the labels.
        rate: Samples a second.
        samples: Of each recording.
        notes: Sentences for the report.
    """

    splits: dict[str, Waves]
    classes: tuple[str, ...]
    rate: int
    samples: int
    notes: tuple[str, ...]


def read_wave_parts(
    files: LabelledFiles,
    rule: SplitRule,
    seed: int,
    *,
    rate: int | None = None,
    seconds: float | None = None,
    normalised: bool = True,
) -> WaveParts:
    """Makes the splits of recordings; all are decoded now and kept.

    Args:
        files: The files.
        rule: How splits that are not given are cut.
        seed: Seed of the cut.
        rate: Samples a second; the most frequent rate where None.
        seconds: Length; what 95 % of the training recordings do not exceed where None, at most 10.
        normalised: See :class:`Waves`.

    Raises:
        UsageError: A broken file, or labels and splits that cannot be used.
    """
    cut = cut_recordings(files, rule, seed)
    infos = [read_info(path) for path in files.paths]
    rate = rate or most_frequent([info.rate for info in infos])
    length = seconds or usual_seconds([infos[i] for i in cut.divided["train"]])
    samples = max(1, round(length * rate))
    waves = [stored(path, rate, samples) for path in files.paths]
    splits = {
        name: Waves(
            [waves[i] for i in index.tolist()],
            samples,
            cut.labels[index],
            normalised=normalised,
            groups=cut.groups_of(name),
        )
        for name, index in cut.divided.items()
    }
    described = describe(infos, rate, samples / rate, f"as {samples} samples", seconds)
    return WaveParts(splits, cut.classes, rate, samples, (*cut.notes, *described))


def stored(path: str, rate: int, samples: int) -> Samples:
    """The middle ``samples`` of a recording, or all of a shorter one, int16.

    Raises:
        UsageError: A file that cannot be read.
    """
    wave = read_wave(path, rate)
    start = max(0, len(wave) - samples) // 2
    clipped = np.clip(wave[start : start + samples], -1, 1)
    made: Samples = np.round(clipped * FULL_SCALE).astype(np.int16)
    return made


def wave_preprocess(parts: WaveParts) -> dict[str, Any]:
    """What :func:`read_waves` needs to prepare other recordings alike; JSON-able."""
    normalised = parts.splits["train"].normalised
    return {"rate": parts.rate, "samples": parts.samples, "normalised": normalised}


def read_waves(paths: Sequence[str], preprocess: Mapping[str, Any]) -> Waves:
    """Reads unlabelled recordings, with label 0.

    Args:
        paths: The files.
        preprocess: What :func:`wave_preprocess` returned for the training split.

    Raises:
        UsageError: A file that cannot be read.
    """
    waves = [stored(path, preprocess["rate"], preprocess["samples"]) for path in paths]
    return Waves(
        waves,
        preprocess["samples"],
        np.zeros(len(paths), np.int64),
        normalised=preprocess["normalised"],
    )
