"""Sentences whose words have a tag each: columns as CoNLL has them, and JSON lines."""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..core.errors import UsageError
from .text import TEXTS, encodable, find_split

COLUMNS = (".conll", ".conllu", ".bio", ".iob", ".iob2")
"""Endings of files with a word a line."""

ENDINGS = (*COLUMNS, ".jsonl")
WORDS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "labels", "pos_tags", "chunk_tags")
"""Keys of JSON lines where none is named, the first that is there."""

_COMMENT = re.compile(r"#[ \t]+(?:id|sent_id|text|newdoc|newpar|global)(?:\s|$)")

USUAL = {".conllu": (2, 4)}
"""Ending -> columns of the word and the tag from 1; else the first and the last."""


@dataclass(frozen=True)
class Fields:
    """Where words and tags stand; empty where it is read off the file.

    Attributes:
        word: Number of a column from 1, or a key of JSON lines.
        tag: The same.
    """

    word: str = ""
    tag: str = ""


@dataclass(frozen=True)
class Sentences:
    """Sentences of a file.

    Attributes:
        source: The file.
        lines: Number of the line at which each sentence begins, from 1.
        words: The words of each.
        tags: Their tags as they are written; empty lists where they were not asked for.
    """

    source: str
    lines: list[int]
    words: list[list[str]]
    tags: list[list[str]]


def find_tagged(folder: str, split: str) -> str | None:
    """The file of a split in a folder, e.g. ``train.conll``, or None."""
    return find_split(folder, split, ENDINGS)


def is_tagged(source: str) -> bool:
    """Whether a source looks like tagged sentences; cheap, and never raises."""
    if os.path.isdir(source):
        found = find_tagged(source, "train")
        return found is not None and is_tagged(found)
    ending = os.path.splitext(source)[1].lower()
    if ending in COLUMNS:
        return True
    if ending != ".jsonl":
        return False
    try:
        with open(source, encoding="utf-8-sig") as file:
            first = json.loads(next((line for line in file if line.strip()), "null"))
    except (OSError, ValueError, RecursionError):
        return False
    # Texts may bring their words too.
    if not isinstance(first, dict) or any(isinstance(first.get(name), str) for name in TEXTS):
        return False
    if any(isinstance(first.get(name), list) for name in WORDS):
        return True
    lists = [value for value in first.values() if isinstance(value, list) and value]
    words = [value for value in lists if all(isinstance(v, str) for v in value)]
    return any(len(one) == len(other) for one in words for other in lists if one is not other)


def read_tagged(source: str, fields: Fields, *, labelled: bool = True) -> Sentences:
    """Reads a file.

    Args:
        source: A word a line, columns apart by tabs or blanks, sentences apart by empty lines and
            ``-DOCSTART-`` (comments such as ``# id 7`` before a sentence are left out, and of
            .conllu what is no word of its own); or JSON lines, one object a sentence, with a list
            of words and one of tags; UTF-8.
        fields: Where words and tags stand, where that is not the usual place.
        labelled: Whether tags are read.

    Raises:
        UsageError: The file, or a line of it, is not as said.
    """
    ending = os.path.splitext(source)[1].lower()
    if os.path.isdir(source):
        raise UsageError(f"{source!r} is a folder: name a file in it.")
    if ending not in ENDINGS:
        raise UsageError(f"{source!r} is none of {', '.join(ENDINGS)} by its ending: rename it.")
    read = _objects if ending == ".jsonl" else _columns
    found = Sentences(source, [], [], [])
    try:
        with open(source, encoding="utf-8-sig") as file:
            for line, words, tags in read(source, file, fields, labelled):
                found.lines.append(line)
                found.words.append(words)
                found.tags.append(tags)
    except FileNotFoundError:
        raise UsageError(f"No such file: {source!r}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{source!r} is not UTF-8 text: save it as UTF-8.") from None
    except OSError as error:
        raise UsageError(f"{source!r} cannot be read ({error.strerror}).") from None
    if not found.words:
        raise UsageError(f"{source!r} holds no sentences: add words with a tag each.")
    return found


Row = tuple[int, list[str], list[str]]


def _columns(source: str, file: Any, fields: Fields, labelled: bool) -> Iterator[Row]:
    universal = source.lower().endswith(".conllu")
    place = _places(source, fields, universal)
    start = columns = 0
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate(file, 1):
        line = line.rstrip("\r\n")
        cells = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
        if not line.strip() or cells[0] == "-DOCSTART-":
            if words:
                yield start, words, tags
            words, tags = [], []
            continue
        if not words and _COMMENT.match(line):
            continue
        if universal and not cells[0].isdecimal():
            continue
        columns = columns or len(cells)
        if len(cells) != columns:
            raise UsageError(
                f"{source!r}, line {number}: there are {len(cells)} columns where lines before "
                f"have {columns}."
            )
        word = place(number, cells, 0)
        if not words:
            start = number
        words.append(word)
        if labelled:
            if len(cells) < 2:
                raise UsageError(f"{source!r}, line {number}: the word {word!r} has no tag.")
            tags.append(place(number, cells, 1))
    if words:
        yield start, words, tags


def _places(
    source: str, fields: Fields, universal: bool
) -> Callable[[int, list[str], int], str]:
    """(line, its cells, 0 for the word or 1 for the tag) -> what stands there."""
    usual = USUAL[".conllu"] if universal else (1, 0)
    numbers = []
    for kind, given, own in (("word", fields.word, usual[0]), ("tag", fields.tag, usual[1])):
        if given and not (given.isdecimal() and len(given) < 5 and int(given)):
            raise UsageError(
                f"{kind}={given!r} must be the number of a column of {source!r}, from 1."
            )
        numbers.append(int(given or own))

    def place(line: int, cells: list[str], which: int) -> str:
        number = numbers[which] or len(cells)
        value = cells[number - 1].strip(" ") if number <= len(cells) else ""
        if not value:
            kind = ("word", "tag")[which]
            raise UsageError(
                f"{source!r}, line {line}: there is no {kind} in column {number} of "
                f"{len(cells)}: name its column by the option {kind}."
            )
        return value

    return place


def _objects(source: str, file: Any, fields: Fields, labelled: bool) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise UsageError(f"{source!r}, line {number}: the line is no JSON object.")
        words = _strings(source, number, content, "word", fields.word, WORDS)
        tags: list[str] = []
        if labelled:
            tags = _strings(source, number, content, "tag", fields.tag, TAGS)
            if len(tags) != len(words):
                raise UsageError(
                    f"{source!r}, line {number}: there are {len(tags)} tags for {len(words)} "
                    "words."
                )
        if words:
            yield number, words, tags


def _strings(
    source: str,
    line: int,
    content: dict[str, Any],
    kind: str,
    given: str,
    usual: tuple[str, ...],
) -> list[str]:
    name = given or next((n for n in usual if n in content), "")
    if name not in content:
        raise UsageError(
            f"{source!r}, line {line}: there is no list {given or ' or '.join(usual)!r}: name the "
            f"key of the {kind}s by the option {kind}."
        )
    values = content[name]
    good = isinstance(values, list) and all(
        isinstance(v, str | int) and not isinstance(v, bool) and str(v).strip() for v in values
    )
    if good and not all(encodable(str(v)) for v in values):
        raise UsageError(
            f"{source!r}, line {line}: {name!r} holds a lone surrogate, half a character: mend it."
        )
    if not good:
        raise UsageError(
            f"{source!r}, line {line}: {name!r} must be a list of {kind}s, none of them empty."
        )
    return [str(v).strip() for v in values]
