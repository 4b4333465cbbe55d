"""The tasks of speech: classification of recordings in folders and tables."""

import math
import os
from collections.abc import Mapping
from typing import Any

from torch.nn import functional

from ..core.errors import UsageError
from ..core.metrics import classification_metrics
from ..core.numbers import check_known, whole_from
from ..core.task import TUNING, Recipe, Split, Task
from ..data.augment import parse_augment
from ..data.augment_speech import STEPS
from ..data.fbank import Heard
from ..data.mel import check_bins
from ..data.recordings import (
    MOST_SECONDS,
    SpeechParts,
    holds_recordings,
    read_parts,
    read_recordings,
)
from ..data.rule import SplitRule
from ..data.speech_inputs import read_speech_inputs, speech_preprocess
from ..data.waves import WaveParts, read_wave_parts, wave_preprocess
from .checkpoint import open_speech_checkpoint
from .patch_checkpoint import PatchCheckpoint

_AUGMENT = "timeshift,specaugment"
_SMALL = 1000
FORMS = "mel", "wave", "raw"
_RATES = (1_000, 192_000)


class RecordingTask:
    """A loader of classifications of recordings; a :class:`nas_domains.core.task.TaskLoader`."""

    name = "recordings"
    options = (
        "augment", "bins", "features", "form", "rate", "seconds", "seed", "speaker", "split",
    )  # fmt: skip

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
                log-mel spectrograms ``bins`` (40), ``rate`` and ``seconds`` (read off the data);
                ``form``, which a pretrained encoder sets: "mel", "wave" for samples of zero mean
                and unit variance, or "raw" for samples as they are, both without ``augment``;
                and ``features``, the folder of an AST checkpoint, for spectrograms as that was
                pretrained on, without ``bins``, ``rate`` and ``form``.

        Returns:
            A task whose x is float32 [1, bins, frames], or [samples], and whose y is a class
            number. Fewer than 1,000 training recordings are trained on in batches of 32, more in
            batches of 64; samples in batches of 16.

        Raises:
            UsageError: An unknown option, a bad value, or data that cannot be used.
        """
        check_known(self.name, self.options, options)
        rule = SplitRule.parse(options.get("split"))
        form, asked = str(options.get("form", FORMS[0])), options.get("augment")
        if form not in FORMS:
            raise UsageError(f"form={form!r} must be one of {', '.join(FORMS)}.")
        heard = None
        if options.get("features"):
            for option in ("bins", "form", "rate"):
                if option in options:
                    raise UsageError(
                        f"The option {option} does not go with features: leave one of them out."
                    )
            heard = heard_of(options["features"])
        usual = _AUGMENT if form == FORMS[0] else "none"
        augment = parse_augment(usual if asked is None else asked, STEPS)
        if form != FORMS[0] and augment is not None:
            raise UsageError(f"augment={asked!r} is for spectrograms: leave it out of samples.")
        low, high = _RATES
        rate = _number("rate", options.get("rate"), low, high)
        seconds = _number("seconds", options.get("seconds"), 0.05, MOST_SECONDS)
        bins = check_bins(options.get("bins", 40))
        seed = whole_from("seed", options.get("seed", 0), 0)
        files = read_recordings(source, _left(options.get("speaker")))
        whole = None if rate is None else int(rate)
        parts: SpeechParts | WaveParts
        space = "keyword"
        shape: tuple[int, ...]
        if form == FORMS[0]:
            parts = read_parts(
                files, rule, seed, bins=bins, rate=whole, seconds=seconds, heard=heard
            )
            shape, preprocess = parts.shape.size, speech_preprocess(parts)
            recipe = Recipe(batch_size=32 if len(parts.splits["train"]) < _SMALL else 64)
            if heard is not None:
                recipe = TUNING
                preprocess["features"] = os.path.abspath(str(options["features"]))
                space = f"speech-transformer:checkpoint={preprocess['features']}"
        else:
            normal = form == FORMS[1]
            parts = read_wave_parts(
                files, rule, seed, rate=whole, seconds=seconds, normalised=normal
            )
            shape, preprocess, recipe = (parts.samples,), wave_preprocess(parts), TUNING
        outputs = len(parts.classes)
        return Task(
            name=os.path.splitext(os.path.basename(os.path.normpath(source)))[0],
            domain="speech",
            train=parts.splits["train"],
            val=parts.splits["val"],
            test=parts.splits["test"],
            input_shape=shape,
            outputs=outputs,
            loss=functional.cross_entropy,
            metrics=classification_metrics(("accuracy", "f1"), outputs),
            classes=parts.classes,
            augment=augment,
            space=space,
            recipe=recipe,
            preprocess={"loader": self.name, **preprocess},
            notes=parts.notes,
        )

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], Split]:
        """Reads unlabelled recordings; see :func:`read_speech_inputs`."""
        return read_speech_inputs(source, preprocess)


def heard_of(folder: object) -> Heard:
    """What the AST checkpoint in a folder was pretrained on.

    Raises:
        UsageError: No such checkpoint.
    """
    found = open_speech_checkpoint(folder)
    if not isinstance(found, PatchCheckpoint):
        raise UsageError(
            f"features={str(folder)!r} names no checkpoint of an Audio Spectrogram Transformer: "
            "name one, or leave it out."
        )
    return found.heard


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
