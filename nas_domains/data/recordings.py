"""Labelled recordings: where they stand, who speaks, and their splits as spectrograms."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..core.errors import UsageError
from .audio import AudioInfo, read_info
from .fbank import FbankShape, Heard
from .files import LabelledFiles, files_below, hidden
from .folders import read_folder
from .kinds import IMAGES, RECORDINGS
from .mel import HOP, MelShape, spectrograms
from .rule import SplitRule, complete_splits
from .splits import Groups, Labels
from .tables import read_table

MOST_RATE = 16_000
"""Samples a second that recordings are reduced to where no rate is asked for."""
MOST_SECONDS = 10.0
"""Length that recordings are cropped to where none is asked for."""
COVERED = 0.95
"""Share of the training recordings that are not cropped where no length is asked for."""

_NAME = re.compile(r"([^_]+)_([^_]+)_(\d{1,9})\.(?:wav|flac)", re.IGNORECASE)
_DIGITS = {str(digit) for digit in range(10)}


def holds_recordings(source: str) -> bool:
    """Whether a path is a folder, or a table, of recordings and not of images.

    Of a folder the first file below it that is either decides, of a table its first line.
    """
    if os.path.isdir(source):
        for _, folders, names in os.walk(source):
            folders[:] = sorted(name for name in folders if not hidden(name))
            for name in sorted(names):
                if not hidden(name) and (RECORDINGS.matches(name) or IMAGES.matches(name)):
                    return RECORDINGS.matches(name)
        return False
    if not source.lower().endswith(".csv"):
        return False
    try:
        with open(source, encoding="utf-8-sig") as file:
            lines = [file.readline().lower() for _ in range(2)]
    except (OSError, UnicodeDecodeError, ValueError):
        return False
    return any(ending in lines[1] for ending in RECORDINGS.endings)


def read_recordings(source: str, leave: Sequence[str] = ()) -> LabelledFiles:
    """Lists recordings, with the split that they bring.

    Args:
        source: A CSV (see :func:`nas_domains.data.tables.read_table`; a speaker is a group), a
            folder with one sub-folder a class (see
            :func:`nas_domains.data.folders.read_folder`), or a folder of files that are all named
            ``LABEL_SPEAKER_TAKE.wav``. Such files whose labels are the ten digits are taken for
            the Free Spoken Digit Dataset, whose own split has takes 0 to 4 as the test.
        leave: Speakers who are the test, whatever split there is; none where empty.

    Raises:
        UsageError: There is nothing there, it is not laid out like that, or a speaker is unknown.
    """
    if not os.path.isdir(source):
        return _left_out(read_table(source, RECORDINGS), leave)
    names = [n for n in sorted(os.listdir(source)) if RECORDINGS.matches(n) and not hidden(n)]
    if not names or any(os.path.isdir(os.path.join(source, n)) for n in names):
        return _left_out(read_folder(source, RECORDINGS), leave)
    found = [_NAME.fullmatch(name) for name in names]
    for name, match in zip(names, found, strict=True):
        if match is None:
            raise UsageError(
                f"{source!r} holds recordings without class sub-folders, and the name of {name!r} "
                "is not LABEL_SPEAKER_TAKE.wav: sort them into one sub-folder a class, rename "
                "them, or list them in a CSV with columns path and label."
            )
    labels, speakers, takes = zip(*(m.groups() for m in found if m), strict=True)
    beside = len(files_below(source, RECORDINGS)) - len(names)
    notes = ["Labels and speakers are read off the names LABEL_SPEAKER_TAKE."]
    if beside:
        notes.append(f"{beside} recordings in sub-folders were not used.")
    files = LabelledFiles(
        source,
        [os.path.join(source, name) for name in names],
        list(labels),
        ["train"] * len(names),
        list(speakers),
        tuple(notes),
    )
    test = [int(take) < 5 for take in takes]
    if leave or set(labels) != _DIGITS or all(test) or not any(test):
        return _left_out(files, leave)
    note = (
        "The test split is takes 0 to 4 of each speaker, the Free Spoken Digit Dataset's own; "
        "all speakers are heard in training too."
    )
    parts = ["test" if tested else "train" for tested in test]
    return replace(files, parts=parts, groups=None, notes=(*files.notes, note))


def _left_out(files: LabelledFiles, leave: Sequence[str]) -> LabelledFiles:
    """Makes some speakers the test."""
    if not leave:
        return files
    if files.groups is None:
        raise UsageError(
            f"{files.source!r} does not say who speaks: leave the speaker option out, or name "
            "speakers in the column group of a CSV."
        )
    if set(files.parts) != {"train"}:
        raise UsageError(
            f"{files.source!r} brings its own split: leave the speaker option out, or remove the "
            "column split."
        )
    known = sorted(set(files.groups))
    for name in leave:
        if name not in known:
            raise UsageError(
                f"speaker=leave:{name} names nobody in {files.source!r}: speakers are "
                f"{', '.join(known[:20])}."
            )
    if len(known) == len(set(leave)):
        raise UsageError(
            f"speaker=leave:{'+'.join(leave)} leaves nobody in {files.source!r} to train on."
        )
    parts = ["test" if speaker in leave else "train" for speaker in files.groups]
    note = f"The test split is what {' and '.join(leave)} said, who are not heard in training."
    return replace(files, parts=parts, notes=(*files.notes, note))


class Spectrograms:
    """Labelled log-mel spectrograms in memory; a :class:`nas_domains.core.task.Split`.

    Attributes:
        x: [N, 1, bins, frames], normalised.
        labels: Class numbers int64 [N].
        groups: Speaker of each [N], or None where they are not kept apart.
    """

    def __init__(self, x: Tensor, labels: Labels, groups: Groups | None = None) -> None:
        self.x, self.labels, self.groups = x, labels, groups

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Some samples at once: x float32 [B, 1, bins, frames] and y int64 [B]."""
        index = np.asarray(indices, dtype=np.int64)
        return self.x[torch.from_numpy(index)], torch.from_numpy(self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> tuple[Tensor, int]:
        return self.x[index], int(self.labels[index])


@dataclass(frozen=True)
class SpeechParts:
    """The splits of a classification of recordings.

    Attributes:
        splits: "train", "val" and "test", normalised band by band by the statistics of train.
        classes: Names of the classes, in the order of the labels.
        shape: Of the spectrograms.
        mean: Mean of each band.
        std: Standard deviation of each band.
        notes: Sentences for the report.
    """

    splits: dict[str, Spectrograms]
    classes: tuple[str, ...]
    shape: MelShape
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...]


def read_parts(
    files: LabelledFiles,
    rule: SplitRule,
    seed: int,
    *,
    bins: int = 40,
    rate: int | None = None,
    seconds: float | None = None,
    heard: Heard | None = None,
) -> SpeechParts:
    """Makes the splits of recordings; all are decoded now and kept as spectrograms.

    Args:
        files: The files.
        rule: How splits that are not given are cut.
        seed: Seed of the cut.
        bins: Mel bands.
        rate: Samples a second; the most frequent rate, at most 16,000, where None.
        seconds: Length; what 95 % of the training recordings do not exceed where None, at most 10.
        heard: What a checkpoint was pretrained on, in place of bins, rate and own statistics.

    Raises:
        UsageError: A broken file, or labels and splits that cannot be used.
    """
    cut = cut_recordings(files, rule, seed)
    infos = [read_info(path) for path in files.paths]
    if heard is not None:
        bins, rate = heard.bins, heard.rate
    rate = rate or min(MOST_RATE, most_frequent([info.rate for info in infos]))
    length = seconds or usual_seconds([infos[i] for i in cut.divided["train"]])
    shape = MelShape(rate, max(1, round(length / HOP)) + 1, bins)
    most = False
    if heard is not None:
        frames = max(1, round(length / HOP) - 1)
        most = frames > heard.frames
        shape = FbankShape(rate, min(heard.frames, frames), bins)
    raw = spectrograms(files.paths, shape)
    if heard is None:
        train = torch.from_numpy(cut.divided["train"])
        std, mean = torch.std_mean(raw[train], (0, 1, 3), correction=0)
        std = torch.where(std > 0, std, 1.0)
    else:
        mean, std = torch.full((bins,), heard.mean), torch.full((bins,), 2 * heard.std)
    raw.sub_(mean[:, None]).div_(std[:, None])
    splits = {
        name: Spectrograms(raw[torch.from_numpy(index)], cut.labels[index], cut.groups_of(name))
        for name, index in cut.divided.items()
    }
    kind = "log-mel" if heard is None else "filter"
    said = f"as {shape.bins} {kind} bands of {shape.frames} frames"
    described = describe(
        infos,
        shape.rate,
        (shape.samples - 1) / shape.rate,
        said,
        seconds,
        most=most,
        start=heard is not None,
    )
    return SpeechParts(
        splits,
        cut.classes,
        shape,
        tuple(mean.tolist()),
        tuple(std.tolist()),
        (*cut.notes, *described),
    )


@dataclass(frozen=True)
class Cut:
    """Which recordings are in which split.

    Attributes:
        divided: "train", "val" and "test": places in the list of files.
        labels: Class numbers int64 [N] of all files.
        classes: Names of the classes, in the order of the labels.
        groups: Speaker of each [N], or None where they are not kept apart.
        notes: Sentences for the report.
    """

    divided: dict[str, Labels]
    labels: Labels
    classes: tuple[str, ...]
    groups: Groups | None
    notes: tuple[str, ...]

    def groups_of(self, split: str) -> Groups | None:
        """The speakers of a split."""
        if self.groups is None:
            return None
        own: Groups = self.groups[self.divided[split]]
        # The halves of a search must be two where a single speaker is left to train on.
        return None if split == "train" and len(np.unique(own)) < 2 else own


def cut_recordings(files: LabelledFiles, rule: SplitRule, seed: int) -> Cut:
    """Completes the splits of recordings.

    Args:
        files: The files.
        rule: How splits that are not given are cut.
        seed: Seed of the cut.

    Raises:
        UsageError: Labels and splits that cannot be used.
    """
    given, labels, classes = files.numbered()
    groups, said = _apart(files, given)
    divided, notes = complete_splits(files.source, labels, given, rule, seed, groups=groups)
    return Cut(divided, labels, classes, groups, (*files.notes, *said, *notes))


def _apart(files: LabelledFiles, given: dict[str, Labels]) -> tuple[Groups | None, list[str]]:
    """The speakers that no split may divide, where they are enough for the missing splits."""
    if files.groups is None:
        return None, []
    groups = np.array(files.groups)
    missing = 3 - len(given)
    if len(np.unique(groups[given["train"]])) > missing:
        return groups, []
    return None, ["There are too few speakers to keep them apart in all splits."]


def most_frequent(rates: Sequence[int]) -> int:
    """The most frequent sampling rate, the lowest of several."""
    counts = Counter(rates)
    return max(counts, key=lambda rate: (counts[rate], -rate))


def usual_seconds(infos: Sequence[AudioInfo]) -> float:
    """The length that 95 % of some recordings do not exceed, at most 10 s."""
    return min(MOST_SECONDS, float(np.quantile([info.seconds for info in infos], COVERED)))


def describe(
    infos: Sequence[AudioInfo],
    rate: int,
    seconds: float,
    heard: str,
    asked: float | None,
    *,
    most: bool = False,
    start: bool = False,
) -> list[str]:
    """Sentences on what is made of recordings.

    Args:
        infos: Of all recordings.
        rate: Samples a second that they are brought to.
        seconds: Length that they are brought to.
        heard: As what they are heard, e.g. "as 40 log-mel bands".
        asked: The length that was asked for, if any.
        most: Whether it is the longest that a checkpoint takes.
        start: Whether the start of longer ones is heard, and zeros behind shorter ones.
    """
    cropped = sum(info.seconds > seconds for info in infos)
    why = f"which {COVERED:.0%} of the training recordings do not exceed"
    if most:
        why = "the longest that the checkpoint takes"
    elif asked is not None:
        why = "as asked"
    elif seconds >= MOST_SECONDS:
        why = "the most that is heard of any"
    part, fill = ("start", "zeros") if start else ("middle", "silence")
    notes = [
        f"Recordings are heard {heard}, {seconds:.2f} s ({why}); {cropped} longer ones are "
        f"cropped to their {part}, shorter ones padded with {fill}."
    ]
    others = Counter(info.rate for info in infos if info.rate != rate)
    if others:
        stored = ", ".join(f"{other} Hz ({n})" for other, n in sorted(others.items()))
        notes.append(f"Recordings at {stored} are resampled to {rate} Hz.")
    stereo = sum(info.channels > 1 for info in infos)
    if stereo:
        notes.append(f"{stereo} recordings of several channels are averaged to one.")
    return notes
