"""What the tasks of texts have in common: options, files of splits, recipes."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import UsageError
from ..core.numbers import check_known, whole_from
from ..core.task import Recipe
from ..data.augment_text import HideTokens
from ..data.hub import is_hub
from ..data.rule import SplitRule, complete_splits
from ..data.splits import Indices
from ..data.text import beside
from . import vocabulary
from .checkpoint import Checkpoint, open_checkpoint
from .scratch import MAX_LENGTH, VOCABULARY

VAL_SHARE = 0.1
"""Share of the texts that validate where no file does."""

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of the training texts, whose lengths stand for all where costs are stated."""

RECIPE = Recipe(
    batch_size=32,
    lr=5e-5,
    weight_decay=0.01,
    grad_clip=1.0,
    epochs=3,
    optimizer="adamw",
    schedule="linear",
)
"""Of fine-tuning, after Devlin et al. 2019 (appendix A.3)."""

SCRATCH = Recipe(
    batch_size=64,
    lr=1e-3,
    weight_decay=0.05,
    warmup=0.1,
    grad_clip=1.0,
    label_smoothing=0.1,
    epochs=12,
    optimizer="adamw",
    schedule="cosine",
)
"""Of networks that begin at random."""

HIDDEN = 0.1
"""Share of the tokens of training texts that networks from scratch do not see."""

FROM_SCRATCH = ("hide", "lower", "vocabulary")
"""Options that do not go with a checkpoint."""

COMMON = (
    "checkpoint",
    "hide",
    "lower",
    "max_length",
    "seed",
    "split",
    "test",
    "val",
    "vocabulary",
    "weights",
)
"""Options of all tasks of texts."""


@dataclass(frozen=True)
class Options:
    """The common options, checked.

    Attributes:
        rule: How splits are cut that no file brings.
        seed: Of that.
        checkpoint: Whose tokenizer is used, or None where a vocabulary is learnt.
        longest: Tokens of a text at most.
        size: Tokens of a vocabulary that is learnt.
        lower: Whether upper and lower case are one there.
        hidden: Share of tokens that training does not show.
        balanced: Whether all classes count the same.
    """

    rule: SplitRule
    seed: int
    checkpoint: Checkpoint | None
    longest: int
    size: int
    lower: bool
    hidden: float
    balanced: bool

    @property
    def recipe(self) -> Recipe:
        """How networks are trained."""
        return SCRATCH if self.checkpoint is None else RECIPE

    @property
    def augment(self) -> HideTokens | None:
        """The random change of a training batch."""
        if self.checkpoint is not None or not self.hidden:
            return None
        return HideTokens(self.hidden, vocabulary.UNKNOWN, len(vocabulary.SPECIAL))

    def space(self, each: str = "text") -> str:
        """The space that is searched where none is named; ``each`` has a class each."""
        if self.checkpoint is not None:
            kind = "" if each == "text" else f",each={each}"
            return f"transformer:checkpoint={self.checkpoint.path}{kind}"
        kind = "" if each == "text" else ",pool=none"
        return f"text-heads:vocabulary={self.size},max_length={max(4, self.longest)}{kind}"

    def ordered(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """Classes in the order of the checkpoint's classifier, where it has the same."""
        theirs = () if self.checkpoint is None else self.checkpoint.classes
        return theirs if sorted(theirs) == sorted(classes) else classes

    def divide(
        self, source: str, numbers: Indices, sizes: Mapping[str, int], *, by_class: bool = True
    ) -> tuple[dict[str, Indices], tuple[str, ...]]:
        """The indices of train, val and test in all texts, and sentences for the report.

        Args:
            source: What the data is called in errors.
            numbers: Class of each text [N].
            sizes: How many of them each file brings, in order.
            by_class: Whether a sorted test is the end of each class or the end of the whole.
        """
        ends = np.cumsum(list(sizes.values()))
        given = {
            name: np.arange(end - sizes[name], end) for name, end in zip(sizes, ends, strict=True)
        }
        rule = self.rule
        if "val" not in given and rule.val is None:
            rule = replace(rule, val=VAL_SHARE)
        return complete_splits(source, numbers, given, rule, self.seed, by_class=by_class)

    def loss(self, labels: Indices, classes: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Cross-entropy, in which all classes count the same where that was asked for."""
        if not self.balanced:
            return functional.cross_entropy
        counts = np.bincount(labels, minlength=classes)
        # The mean over samples is one.
        weights = len(labels) / (classes * np.maximum(counts, 1))
        return partial(_weighted, weights=torch.tensor(weights, dtype=torch.float32))


def _weighted(output: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    return functional.cross_entropy(output, y, weight=weights.to(output))


def read_options(
    task: str, source: str, known: Sequence[str], options: Mapping[str, Any]
) -> Options:
    """Checks what all tasks of texts understand.

    Args:
        task: Name of the task, for errors.
        source: What the data is called.
        known: Its own options.
        options: All that were given.

    Raises:
        UsageError: An option that is not known, or a bad value.
    """
    check_known(task, sorted({*COMMON, *known}), options)
    for option in ("val", "test"):
        if is_hub(source) and options.get(option):
            raise UsageError(f"The option {option} does not go with {source!r}: leave it out.")
    rule = SplitRule.parse(options.get("split"))
    seed = whole_from("seed", options.get("seed", 0), 0)
    if options.get("weights", "none") not in ("none", "balanced"):
        raise UsageError(f"weights={options['weights']!r} must be none or balanced.")
    if "checkpoint" in options and not options["checkpoint"]:
        raise UsageError(
            "The option checkpoint names no folder: name one, or leave it out for a "
            "vocabulary that is learnt from the texts."
        )
    for option in FROM_SCRATCH:
        if "checkpoint" in options and option in options:
            raise UsageError(
                f"The option {option} is for texts without a checkpoint: leave it out."
            )
    checkpoint = open_checkpoint(options["checkpoint"]) if "checkpoint" in options else None
    longest = MAX_LENGTH if checkpoint is None else checkpoint.spec.longest
    longest = whole_from("max_length", options.get("max_length", longest), 3)
    if checkpoint is not None:
        longest = min(longest, checkpoint.spec.longest)
    size = whole_from("vocabulary", options.get("vocabulary", VOCABULARY), vocabulary.LEAST)
    lower = str(options.get("lower", "true")).lower()
    if lower not in ("true", "false"):
        raise UsageError(f"lower={options['lower']!r} must be true or false.")
    return Options(
        rule,
        seed,
        checkpoint,
        longest,
        size,
        lower == "true",
        _share("hide", options.get("hide", HIDDEN)),
        options.get("weights") == "balanced",
    )


def _share(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise UsageError(f"{name}={value!r} must be a number from 0 to below 1.")
    return number


def files_of(
    source: str, options: Mapping[str, Any], find: Callable[[str, str], str | None], endings: str
) -> dict[str, str]:
    """The file of each split that is there; train always, in the order train, val, test.

    Args:
        source: A file or a folder.
        options: ``val`` and ``test`` name files.
        find: (folder, split) -> its file, or None.
        endings: What files may end with, for errors.
    """
    files: dict[str, str] = {"train": source}
    if os.path.isdir(source):
        for split in ("train", "val", "test"):
            found = find(source, split)
            if found is not None:
                files[split] = found
        if files["train"] == source:
            raise UsageError(f"{source!r} holds no train{endings}: name a file.")
    for split in ("val", "test"):
        if options.get(split):
            files[split] = beside(source, str(options[split]))
    named = {os.path.realpath(path): split for split, path in files.items()}
    for split, path in files.items():
        if named[os.path.realpath(path)] != split:
            raise UsageError(f"{path!r} is named as two splits: name another file.")
    return {n: files[n] for n in ("train", "val", "test") if n in files}
