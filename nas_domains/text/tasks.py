"""The tasks of text: classification of texts and of pairs of texts."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import UsageError
from ..core.metrics import classification_metrics
from ..core.task import Recipe, Task
from ..data.rule import SplitRule, complete_splits
from ..data.splits import Indices
from ..data.text import Columns, Texts, beside, find_split, is_text, read_texts
from ..data.tokens import TokenSplit
from .checkpoint import load_tokenizer, open_checkpoint

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

OPTIONS = (
    "checkpoint",
    "label",
    "max_length",
    "pair",
    "seed",
    "split",
    "test",
    "text",
    "val",
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
                used (a search with ``transformer:checkpoint=...`` names it by itself); ``text``,
                ``pair`` and ``label``, names of columns; ``val`` and ``test``, files; ``split``
                (see :meth:`nas_domains.data.rule.SplitRule.parse`) where they are not given, a
                tenth validates by default; ``max_length`` in tokens; ``weights=balanced`` for a
                loss in which all classes count the same; ``seed`` of the split (0).

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
        seed = _whole("seed", options.get("seed", 0), 0)
        columns = Columns(*(str(options.get(n) or "") for n in ("text", "pair", "label")))
        if options.get("weights", "none") not in ("none", "balanced"):
            raise UsageError(f"weights={options['weights']!r} must be none or balanced.")
        if not options.get("checkpoint"):
            raise UsageError(
                "Texts need a tokenizer: name the folder of a model by the option checkpoint, or "
                "search with --space transformer:checkpoint=FOLDER."
            )
        checkpoint = open_checkpoint(options["checkpoint"])
        longest = _whole("max_length", options.get("max_length", checkpoint.spec.longest), 3)
        longest = min(longest, checkpoint.spec.longest)
        parts = _read(source, columns, options)
        classes = _classes(parts["train"])
        labels = {name: _numbers(part, classes) for name, part in parts.items()}
        preprocess = {
            "loader": "text",
            "checkpoint": checkpoint.path,
            "max_length": longest,
            "columns": asdict(columns),
        }
        rows = {name: _tokens(part, preprocess) for name, part in parts.items()}
        ids = [row for name in parts for row in rows[name]]
        every = TokenSplit(ids, np.concatenate([labels[n] for n in parts]), checkpoint.spec.pad)
        given: dict[str, Indices] = {}
        start = 0
        for name in parts:
            given[name] = np.arange(start, start + len(rows[name]))
            start += len(rows[name])
        if "val" not in given and rule.val is None:
            rule = replace(rule, val=VAL_SHARE)
        divided, notes = complete_splits(source, every.labels, given, rule, seed)
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
            recipe=RECIPE,
            preprocess=preprocess,
            notes=notes,
        )

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], TokenSplit]:
        """Reads unlabelled texts; each is named by its line."""
        columns = replace(Columns(**preprocess["columns"]), label="")
        texts = read_texts(source, columns, labelled=False)
        spec = open_checkpoint(preprocess["checkpoint"]).spec
        ids = _tokens(texts, preprocess)
        names = [f"line {line}" for line in texts.lines]
        return names, TokenSplit(ids, np.zeros(len(ids), np.int64), spec.pad)


def _whole(name: str, value: object, least: int) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise UsageError(f"{name}={value!r} must be a whole number from {least} on.")
    return int(text)


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


def _tokens(part: Texts, preprocess: Mapping[str, Any]) -> list[list[int]]:
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
