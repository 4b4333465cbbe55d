"""The tasks of speech: classification of recordings in folders and tables."""

import math
import os
from collections.abc import Mapping
from typing import Any

from torch.nn import functional

from ..core.errors import UsageError
from ..core.metrics import classification_metrics
from ..core.task import Recipe, Split, Task
from ..data.augment import parse_augment
from ..data.augment_speech import STEPS
from ..data.mel import check_bins
from ..data.recordings import MOST_SECONDS, holds_recordings, read_parts, read_recordings
from ..data.rule import SplitRule
from ..data.speech_inputs import read_speech_inputs, speech_preprocess

_AUGMENT = "timeshift,specaugment"
_SMALL = 1000
_RATES = (1_000, 192_000)


class RecordingTask:
    """A loader of classifications of recordings; a :class:`nas_domains.core.task.TaskLoader`."""

    name = "recordings"
    options = ("augment", "bins", "rate", "seconds", "seed", "speaker", "split")

    def accepts(self, source: str) -> bool:
        """Whether the path is a folder or a CSV of wav or flac files; cheap, and never raises."""
        return holds_recordings(source)

    def load(self, source: str, **options: Any) -> Task:
        """Reads a classification of recordings.

        Args:
            source: What :func:`nas_domains.data.recordings.read_recordings` reads.
            **options: ``split`` (see :meth:`nas_domains.data.rule.SplitRule.parse`), ``speaker``
                ("leave:theo" or "leave:theo+george": who is the test), ``augment`` ("none", or
                some of timeshift, pitch, specaugment), ``seed`` of the split (0), and of the
                log-mel spectrograms ``bins`` (40), ``rate`` and ``seconds`` (read off the data).

        Returns:
            A task whose x is float32 [1, bins, frames] and whose y is a class number. Fewer than
            1,000 training recordings are trained on in batches of 32, more in batches of 64.

        Raises:
            UsageError: An unknown option, a bad value, or data that cannot be used.
        """
        for option in options:
            if option not in self.options:
                raise UsageError(
                    f"The task {self.name!r} has no option {option!r}: known are "
                    f"{', '.join(self.options)}."
                )
        rule = SplitRule.parse(options.get("split"))
        asked = options.get("augment")
        augment = parse_augment(_AUGMENT if asked is None else asked, STEPS)
        low, high = _RATES
        rate = _number("rate", options.get("rate"), low, high)
        seconds = _number("seconds", options.get("seconds"), 0.05, MOST_SECONDS)
        bins = check_bins(options.get("bins", 40))
        seed = _number("seed", options.get("seed", 0), 0, 2**32)
        leave = _left(options.get("speaker"))
        parts = read_parts(
            read_recordings(source, leave),
            rule,
            int(seed or 0),
            bins=bins,
            rate=None if rate is None else int(rate),
            seconds=seconds,
        )
        outputs = len(parts.classes)
        train = parts.splits["train"]
        return Task(
            name=os.path.splitext(os.path.basename(os.path.normpath(source)))[0],
            domain="speech",
            train=train,
            val=parts.splits["val"],
            test=parts.splits["test"],
            input_shape=parts.shape.size,
            outputs=outputs,
            loss=functional.cross_entropy,
            metrics=classification_metrics(("accuracy", "f1"), outputs),
            classes=parts.classes,
            augment=augment,
            space="keyword",
            recipe=Recipe(batch_size=32 if len(train) < _SMALL else 64),
            preprocess={"loader": self.name, **speech_preprocess(parts)},
            notes=parts.notes,
        )

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], Split]:
        """Reads unlabelled recordings; see :func:`read_speech_inputs`."""
        return read_speech_inputs(source, preprocess)


def _number(name: str, value: object, low: float, high: float) -> float | None:
    """An option that is a number from low to high, whole where both are."""
    if value is None:
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    whole = isinstance(low, int)
    if not low <= number <= high or (whole and not number.is_integer()):
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"{name}={value!r} must be {kind} from {low:g} to {high:g}.")
    return number


def _left(value: object) -> list[str]:
    """The speakers of ``speaker=leave:NAME+NAME``."""
    if value is None:
        return []
    word, found, names = str(value).partition(":")
    left = names.split("+")
    if word.strip() != "leave" or not found or not all(map(str.strip, left)):
        raise UsageError(
            f"speaker={value!r} is not understood: write speaker=leave:NAME, or "
            "speaker=leave:NAME+NAME."
        )
    return [name.strip() for name in left]


recordings = RecordingTask()
