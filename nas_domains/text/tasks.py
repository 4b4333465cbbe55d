"""The tasks of text: classification of texts and of pairs of texts."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..core.errors import UsageError
from ..core.metrics import classification_metrics
from ..core.registry import tasks
from ..core.task import Task
from ..data.hub import holds_tags, hub_texts, is_hub
from ..data.splits import Indices
from ..data.text import Columns, Texts, find_split, is_text, read_texts
from ..data.tokens import TokenSplit
from . import vocabulary
from .checkpoint import load_tokenizer, open_checkpoint
from .options import SHARES, files_of, read_options

OPTIONS = ("label", "pair", "text")
"""Options of this task alone."""


class TextTask:
    """The loader of text classification; satisfies :class:`nas_domains.core.task.TaskLoader`."""

    def accepts(self, source: str) -> bool:
        """Whether this loader reads that path; cheap, and never raises."""
        return is_hub(source) or is_text(source)

    def takes(self, source: str) -> bool:
        """Any path where the domain is named, so that what it lacks is said."""
        return os.path.exists(source)

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

        Data sets of Hugging Face's hub are ``hf:NAME`` or ``hf:NAME:CONFIGURATION``; those of
        tagged words become the task of :class:`nas_domains.text.tags.TagTask`.

        Returns:
            A task whose x is int64 [T], tokens that a batch fills up to its longest, and whose y
            is a class number; metrics accuracy, f1 (macro) and matthews.

        Raises:
            UsageError: An unknown option, a bad value, or data that cannot be used.
        """
        if is_hub(source) and holds_tags(source):
            task: Task = tasks.load("tags").load(source, **options)
            return task
        given = read_options("text", source, OPTIONS, options)
        columns = Columns(*(str(options.get(n) or "") for n in ("text", "pair", "label")))
        if is_hub(source):
            parts = hub_texts(source, columns)
        else:
            files = files_of(source, options, find_split, ".csv, .tsv or .jsonl")
            parts = {name: read_texts(file, columns) for name, file in files.items()}
        classes = given.ordered(_classes(parts["train"]))
        numbers = np.concatenate([_numbers(part, classes) for part in parts.values()])
        sizes = {name: len(part.texts) for name, part in parts.items()}
        divided, notes = given.divide(source, numbers, sizes)
        preprocess: dict[str, Any] = {
            "loader": "text",
            "max_length": given.longest,
            "columns": asdict(parts["train"].columns),
        }
        if given.checkpoint is not None:
            preprocess["checkpoint"], pad = given.checkpoint.path, given.checkpoint.spec.pad
        else:
            texts = _texts(list(parts.values()), divided["train"])
            found = vocabulary.learn(texts, given.size, given.lower)
            preprocess["vocabulary"], pad = found, vocabulary.PAD
            notes += (f"{len(found['tokens'])} word pieces were learnt from the training texts.",)
        ids = [row for part in parts.values() for row in _tokens(part, preprocess)]
        every = TokenSplit(ids, numbers, pad)
        splits = {name: every.part(indices) for name, indices in divided.items()}
        longest = given.longest
        cut = int((every.lengths() >= longest).sum())
        if cut:
            notes += (f"{cut} texts of {longest} tokens or more were cut to {longest}.",)
        train = splits["train"]
        shape = np.quantile(train.lengths(), SHARES, method="lower").astype(int).tolist()
        return Task(
            name=os.path.splitext(os.path.basename(os.path.normpath(source)))[0],
            domain="text",
            train=train,
            val=splits["val"].by_length(),
            test=splits["test"].by_length(),
            input_shape=tuple(shape),
            outputs=len(classes),
            loss=given.loss(train.labels, len(classes)),
            metrics=classification_metrics(("accuracy", "f1", "matthews"), len(classes)),
            classes=classes,
            augment=given.augment,
            recipe=given.recipe,
            preprocess=preprocess,
            notes=notes,
            space=given.space(),
        )

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], TokenSplit]:
        """Reads unlabelled texts; each is named by its line."""
        # Runs of earlier versions know what was asked for, not what was found.
        columns = replace(Columns(**preprocess["columns"]), label="")
        texts = read_texts(source, columns, labelled=False, likely=True)
        pad = vocabulary.PAD
        if "checkpoint" in preprocess:
            pad = open_checkpoint(preprocess["checkpoint"]).spec.pad
        ids = _tokens(texts, preprocess)
        names = [f"line {line}" for line in texts.lines]
        return names, TokenSplit(ids, np.zeros(len(ids), np.int64), pad)


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


text = TextTask()
