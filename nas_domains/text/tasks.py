"""The tasks of text: classification of texts and of pairs of texts."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import UsageError
from ..core.metrics import classification_metrics
from ..core.numbers import whole_from
from ..core.task import Recipe, Task
from ..data.augment_text import HideTokens
from ..data.rule import SplitRule, complete_splits
from ..data.splits import Indices
from ..data.text import Columns, Texts, beside, find_split, is_text, read_texts
from ..data.tokens import TokenSplit
from . import vocabulary
from .checkpoint import load_tokenizer, open_checkpoint
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

OPTIONS = (
    "checkpoint",
    "hide",
    "label",
    "lower",
    "max_length",
    "pair",
    "seed",
    "split",
    "test",
    "text",
    "val",
    "vocabulary",
    "weights",
)


class TextTask:
    """The loader of text classification; satisfies :class:`nas_domains.core.task.TaskLoader`."""

    def accepts(self, source: str) -> bool:
        """Whether this loader reads that path; cheap, and never raises."""
        return is_text(source)

    def load(self, source: str, **options: Any) -> Task:
        """Reads a classification of texts or of pairs of texts.

        Args:
            source: A .csv, .tsv or .jsonl; or a folder with train.tsv and, if you like, val.tsv
                (dev.tsv) and test.tsv.
            **options: ``checkpoint``, the folder of a model of transformers whose tokenizer is
                used (a search with ``transformer:checkpoint=...`` names it by itself); without it
                ``vocabulary``, the tokens of one that is learnt from the training texts (4000),
                ``lower``, whether upper and lower case are one there (true), and ``hide``, the
                share of tokens that training does not show (0.1); ``text``,
                ``pair`` and ``label``, names of columns; ``val`` and ``test``, files; ``split``
                (see :meth:`nas_domains.data.rule.SplitRule.parse`) where they are not given, a
                tenth validates by default; ``max_length`` in tokens (128 without a checkpoint);
                ``weights=balanced`` for a loss in which all classes count the same; ``seed`` of
                the split (0).

        Returns:
            A task whose x is int64 [T], tokens that a batch fills up to its longest, and whose y
            is a class number; metrics accuracy, f1 (macro) and matthews.

        Raises:
            UsageError: An unknown option, a bad value, or data that cannot be used.
        """
        for option in options:
            if option not in OPTIONS:
                raise UsageError(
                    f"The task 'text' has no option {option!r}: known are {', '.join(OPTIONS)}."
                )
        rule = SplitRule.parse(options.get("split"))
        seed = whole_from("seed", options.get("seed", 0), 0)
        columns = Columns(*(str(options.get(n) or "") for n in ("text", "pair", "label")))
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
        hidden = _share("hide", options.get("hide", HIDDEN))
        parts = _read(source, columns, options)
        classes = _classes(parts["train"])
        numbers = np.concatenate([_numbers(part, classes) for part in parts.values()])
        given: dict[str, Indices] = {}
        start = 0
        for name, part in parts.items():
            given[name] = np.arange(start, start + len(part.texts))
            start += len(part.texts)
        if "val" not in given and rule.val is None:
            rule = replace(rule, val=VAL_SHARE)
        divided, notes = complete_splits(source, numbers, given, rule, seed)
        preprocess: dict[str, Any] = {
            "loader": "text",
            "max_length": longest,
            "columns": asdict(columns),
        }
        if checkpoint is not None:
            preprocess["checkpoint"], pad = checkpoint.path, checkpoint.spec.pad
        else:
            texts = _texts(list(parts.values()), divided["train"])
            found = vocabulary.learn(texts, size, lower == "true")
            preprocess["vocabulary"], pad = found, vocabulary.PAD
            notes += (f"{len(found['tokens'])} word pieces were learnt from the training texts.",)
        ids = [row for part in parts.values() for row in _tokens(part, preprocess)]
        every = TokenSplit(ids, numbers, pad)
        splits = {name: every.part(indices) for name, indices in divided.items()}
        cut = int((every.lengths() >= longest).sum())
        if cut:
            notes += (f"{cut} texts of {longest} tokens or more were cut to {longest}.",)
        train = splits["train"]
        shape = np.quantile(train.lengths(), SHARES, method="lower").astype(int).tolist()
        loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
        if options.get("weights") == "balanced":
            loss = partial(_weighted, weights=_balanced(train.labels, len(classes)))
        return Task(
            name=os.path.splitext(os.path.basename(os.path.normpath(source)))[0],
            domain="text",
            train=train,
            val=splits["val"].by_length(),
            test=splits["test"].by_length(),
            input_shape=tuple(shape),
            outputs=len(classes),
            loss=loss,
            metrics=classification_metrics(("accuracy", "f1", "matthews"), len(classes)),
            classes=classes,
            augment=HideTokens(hidden, vocabulary.UNKNOWN, len(vocabulary.SPECIAL))
            if checkpoint is None and hidden
            else None,
            recipe=RECIPE if checkpoint is not None else SCRATCH,
            preprocess=preprocess,
            notes=notes,
            space=f"transformer:checkpoint={checkpoint.path}"
            if checkpoint is not None
            else f"text-heads:vocabulary={size},max_length={max(4, longest)}",
        )

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], TokenSplit]:
        """Reads unlabelled texts; each is named by its line."""
        columns = replace(Columns(**preprocess["columns"]), label="")
        texts = read_texts(source, columns, labelled=False)
        pad = vocabulary.PAD
        if "checkpoint" in preprocess:
            pad = open_checkpoint(preprocess["checkpoint"]).spec.pad
        ids = _tokens(texts, preprocess)
        names = [f"line {line}" for line in texts.lines]
        return names, TokenSplit(ids, np.zeros(len(ids), np.int64), pad)


def _share(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise UsageError(f"{name}={value!r} must be a number from 0 to below 1.")
    return number


def _read(source: str, columns: Columns, options: Mapping[str, Any]) -> dict[str, Texts]:
    """The texts of each split that is there; train always, in the order train, val, test."""
    files: dict[str, str] = {"train": source}
    if os.path.isdir(source):
        for split in ("train", "val", "test"):
            found = find_split(source, split)
            if found is not None:
                files[split] = found
        if files["train"] == source:
            raise UsageError(f"{source!r} holds no train.csv, .tsv or .jsonl: name a file.")
    for split in ("val", "test"):
        if options.get(split):
            files[split] = beside(source, str(options[split]))
    named = {os.path.realpath(path): split for split, path in files.items()}
    for split, path in files.items():
        if named[os.path.realpath(path)] != split:
            raise UsageError(f"{path!r} is named as two splits: name another file.")
    return {n: read_texts(files[n], columns) for n in ("train", "val", "test") if n in files}


def _classes(train: Texts) -> tuple[str, ...]:
    classes = sorted(set(train.labels))
    if all(name.isdecimal() for name in classes):
        classes.sort(key=int)
    if len(classes) < 2:
        raise UsageError(f"All texts of {train.source!r} have one label: give at least two.")
    if len(classes) > max(2, len(train.labels) // 2):
        raise UsageError(
            f"{train.source!r} has {len(classes)} labels for {len(train.labels)} texts: name the "
            "column of the classes by the option label."
        )
    return tuple(classes)


def _numbers(part: Texts, classes: tuple[str, ...]) -> Indices:
    places = {name: i for i, name in enumerate(classes)}
    for line, label in zip(part.lines, part.labels, strict=True):
        if label not in places:
            raise UsageError(
                f"{part.source!r}, line {line}: the label {label!r} is not among those of the "
                f"training texts, {', '.join(classes[:8])}."
            )
    return np.array([places[label] for label in part.labels], dtype=np.int64)


def _texts(parts: list[Texts], indices: Indices) -> Iterator[str]:
    """Some of the texts of all parts, and the second texts of these."""
    texts = [text for part in parts for text in part.texts]
    pairs = [text for part in parts for text in part.pairs or [""] * len(part.texts)]
    for i in indices:
        yield texts[i]
        yield pairs[i]


def _tokens(part: Texts, preprocess: Mapping[str, Any]) -> list[list[int]]:
    if "checkpoint" not in preprocess:
        return vocabulary.encode(
            preprocess["vocabulary"], part.texts, part.pairs, preprocess["max_length"]
        )
    tokenizer = load_tokenizer(preprocess["checkpoint"])
    ids: list[list[int]] = tokenizer(
        part.texts,
        part.pairs,
        truncation=True,
        max_length=preprocess["max_length"],
        # A "[SEP]" that someone wrote is no separator.
        split_special_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    return ids


def _balanced(labels: Indices, classes: int) -> Tensor:
    """Weights with which all classes count the same, and whose mean over samples is one."""
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1)), dtype=torch.float32)


def _weighted(output: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    return functional.cross_entropy(output, y, weight=weights.to(output))


text = TextTask()
