"""The task of tagging: a class for each word of a text, such as entities or parts of speech."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from ..core.errors import UsageError
from ..core.files import check_place, write_text
from ..core.progress import Reporter
from ..core.task import IGNORED, Task
from ..data.hub import hub_sentences, is_hub
from ..data.splits import Indices
from ..data.tagged import ENDINGS, Fields, Sentences, find_tagged, is_tagged, read_tagged
from ..data.tokens import TaggedSplit
from . import vocabulary
from .checkpoint import load_tokenizer, open_checkpoint
from .entities import EntityF1, has_entities
from .options import SHARES, files_of, read_options

OPTIONS = ("tag", "word")
"""Options of this task alone."""

BATCH = 64
"""Texts that go through a network at once in a prediction."""


class TagTask:
    """The loader of tagging; satisfies :class:`nas_domains.core.task.TaskLoader`."""

    predictions = "predictions.jsonl"

    def accepts(self, source: str) -> bool:
        """Whether this loader reads that path; cheap, and never raises."""
        return is_tagged(source)

    def load(self, source: str, **options: Any) -> Task:
        """Reads sentences whose words have a tag each.

        The first token of a word has its class; sentences that are too long are cut between words
        into pieces, so that every word counts.

        Args:
            source: A .conll, .conllu, .bio, .iob or .jsonl; or a folder with train.conll and, if
                you like, val (dev) and test.
            **options: ``word`` and ``tag``, columns from 1 or keys, where they have no usual
                place; and those of the task ``text`` but for its columns.

        Returns:
            A task whose x is int64 [T], tokens that a batch fills up to its longest, and whose y
            is int64 [T], a class or -100; metrics accuracy, and f1: of entities where tags are
            such as B-PER, else the mean over the classes.

        Raises:
            UsageError: An unknown option, a bad value, or data that cannot be used.
        """
        given = read_options("tags", source, OPTIONS, options)
        fields = Fields(*(str(options.get(name) or "") for name in ("word", "tag")))
        if is_hub(source):
            parts = hub_sentences(source, fields)
        else:
            files = files_of(source, options, find_tagged, f" with {', '.join(ENDINGS)}")
            parts = {name: read_tagged(file, fields) for name, file in files.items()}
        classes = given.ordered(_classes(parts["train"]))
        sizes = {name: len(part.words) for name, part in parts.items()}
        alike = np.zeros(sum(sizes.values()), np.int64)
        divided, notes = given.divide(source, alike, sizes, by_class=False)
        words = [row for part in parts.values() for row in part.words]
        numbers = [row for part in parts.values() for row in _numbers(part, classes)]
        preprocess: dict[str, Any] = {
            "loader": "tags",
            "max_length": given.longest,
            "fields": asdict(fields),
            "tags": list(classes),
        }
        if given.checkpoint is not None:
            preprocess["checkpoint"] = given.checkpoint.path
        else:
            texts = (" ".join(words[i]) for i in divided["train"])
            found = vocabulary.learn(texts, given.size, given.lower)
            preprocess["vocabulary"] = found
            notes += (f"{len(found['tokens'])} word pieces were learnt from the training texts.",)
        pieces = Pieces.of(preprocess)
        splits = {
            name: pieces.split([words[i] for i in part], [numbers[i] for i in part])
            for name, part in divided.items()
        }
        cut = sum(map(len, splits.values())) - len(words)
        if cut:
            notes += (f"Sentences of more than {given.longest} tokens were cut {cut} times.",)
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
            loss=given.loss(np.concatenate([numbers[i] for i in divided["train"]]), len(classes)),
            metrics=_metrics(classes),
            classes=classes,
            augment=given.augment,
            recipe=given.recipe,
            preprocess=preprocess,
            notes=notes,
            space=given.space("token"),
        )

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], TaggedSplit]:
        """Reads untagged sentences; each piece is named by the line of its sentence."""
        read = read_tagged(source, Fields(**preprocess["fields"]), labelled=False)
        pieces = Pieces.of(preprocess)
        cut = [pieces.cut(words) for words in read.words]
        names = [
            f"line {line}" for line, own in zip(read.lines, cut, strict=True) for _ in own
        ]
        return names, pieces.joined(cut, [[0] * len(words) for words in read.words])

    def predict(
        self,
        network: nn.Module,
        source: str,
        preprocess: Mapping[str, Any],
        out: Path,
        reporter: Reporter,
    ) -> int:
        """Writes JSON lines: ``line``, ``tokens``, ``tags``, and ``p``, the probability of each.

        Args:
            network: In evaluation mode.
            source: Sentences, with or without tags.
            preprocess: Of the task.
            out: The file.
            reporter: Shows progress.

        Returns:
            Number of sentences.
        """
        check_place(out)
        read = read_tagged(source, Fields(**preprocess["fields"]), labelled=False)
        pieces = Pieces.of(preprocess)
        split = pieces.split(read.words, [[0] * len(words) for words in read.words])
        found: list[tuple[str, float]] = []
        with reporter.bar("predict", len(split), "texts") as advance, torch.inference_mode():
            for start in range(0, len(split), BATCH):
                x, y = split.batch(range(start, min(start + BATCH, len(split))))
                best = network(x).softmax(1).max(1)
                first = y != IGNORED
                chances, numbers = best.values[first].tolist(), best.indices[first].tolist()
                found += [
                    (preprocess["tags"][i], p) for i, p in zip(numbers, chances, strict=True)
                ]
                advance(start + len(x))
        said = iter(found)
        lines = []
        for line, words in zip(read.lines, read.words, strict=True):
            own = [next(said) for _ in words]
            row = {
                "line": line,
                "tokens": words,
                "tags": [tag for tag, _ in own],
                "p": [round(p, 6) for _, p in own],
            }
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        write_text(out, "".join(lines))
        return len(lines)


@dataclass(frozen=True)
class Pieces:
    """Makes tokens of words, as many at a time as a network reads.

    Attributes:
        encode: Words -> the tokens of each, at least one.
        cls: First token of each text.
        sep: Last token of each text.
        pad: Token that fills a batch.
        longest: Tokens of a text at most, with the first and the last.
    """

    encode: Callable[[Sequence[str]], list[list[int]]]
    cls: int
    sep: int
    pad: int
    longest: int

    @staticmethod
    def of(preprocess: Mapping[str, Any]) -> "Pieces":
        """Reads what a task wrote down."""
        longest = preprocess["max_length"]
        if "checkpoint" not in preprocess:
            made = vocabulary.tokenizer(preprocess["vocabulary"], longest)

            def learnt(words: Sequence[str]) -> list[list[int]]:
                rows = made.encode_batch(list(words))
                return [row.ids[1:-1] or [vocabulary.UNKNOWN] for row in rows]

            return Pieces(learnt, vocabulary.CLS, vocabulary.SEP, vocabulary.PAD, longest)
        spec = open_checkpoint(preprocess["checkpoint"]).spec
        tokenizer = load_tokenizer(preprocess["checkpoint"])
        # RoBERTa's tokens know whether a blank stands before them.
        lead = " " if spec.family == "roberta" else ""

        def known(words: Sequence[str]) -> list[list[int]]:
            rows = tokenizer(
                [lead + word for word in words],
                add_special_tokens=False,
                # A "[SEP]" that someone wrote is no separator.
                split_special_tokens=True,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            return [row or [tokenizer.unk_token_id] for row in rows]

        return Pieces(known, spec.cls, spec.sep, spec.pad, longest)

    def cut(self, words: Sequence[str]) -> list[list[list[int]]]:
        """The tokens of each word, in pieces of a length that fits; too long words are cut."""
        room = self.longest - 2
        pieces: list[list[list[int]]] = [[]]
        used = 0
        for tokens in self.encode(words):
            own = tokens[:room]
            if used + len(own) > room:
                pieces.append([])
                used = 0
            pieces[-1].append(own)
            used += len(own)
        return pieces

    def split(
        self, sentences: Iterable[Sequence[str]], numbers: Iterable[Sequence[int]]
    ) -> TaggedSplit:
        """Sentences, and the class of each word, as tokens."""
        return self.joined([self.cut(words) for words in sentences], numbers)

    def joined(
        self, cut: Iterable[list[list[list[int]]]], numbers: Iterable[Sequence[int]]
    ) -> TaggedSplit:
        """What :meth:`cut` made of sentences, and the class of each word."""
        ids, tags = [], []
        for pieces, own in zip(cut, numbers, strict=True):
            left = iter(own)
            for piece in pieces:
                ids.append([self.cls, *(token for word in piece for token in word), self.sep])
                marks = [
                    mark
                    for word in piece
                    for mark in (next(left), *[IGNORED] * (len(word) - 1))
                ]
                tags.append([IGNORED, *marks, IGNORED])
        return TaggedSplit(ids, tags, self.pad)


def _classes(train: Sentences) -> tuple[str, ...]:
    classes = sorted({tag for row in train.tags for tag in row})
    if all(name.isdecimal() for name in classes):
        classes.sort(key=int)
    if len(classes) < 2:
        raise UsageError(f"All words of {train.source!r} have one tag: give at least two.")
    words = sum(map(len, train.tags))
    if len(classes) > max(2, words // 2):
        raise UsageError(
            f"{train.source!r} has {len(classes)} tags for {words} words: name where the tags "
            "stand by the option tag."
        )
    return tuple(classes)


def _numbers(part: Sentences, classes: tuple[str, ...]) -> list[Indices]:
    places = {name: i for i, name in enumerate(classes)}
    for line, row in zip(part.lines, part.tags, strict=True):
        for tag in row:
            if tag not in places:
                raise UsageError(
                    f"{part.source!r}, the sentence of line {line}: the tag {tag!r} is not among "
                    f"those of the training texts, {', '.join(classes[:8])}."
                )
    return [np.array([places[tag] for tag in row], dtype=np.int64) for row in part.tags]


def _metrics(classes: tuple[str, ...]) -> dict[str, Metric]:
    n = len(classes)
    f1: Metric = MulticlassF1Score(n, average="macro", ignore_index=IGNORED)
    return {
        "accuracy": MulticlassAccuracy(n, average="micro", ignore_index=IGNORED),
        "f1": EntityF1(classes) if has_entities(classes) else f1,
    }


tags = TagTask()
