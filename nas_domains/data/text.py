"""Tables and lines of texts with labels: CSV, TSV and JSON lines."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import UsageError

ENDINGS = (".csv", ".tsv", ".jsonl")
TEXTS = (
    "text",
    "question",
    "sentence",
    "review",
    "utterance",
    "sentence1",
    "premise",
    "question1",
)
"""Columns that hold the text where none is named, the first that is there; a question comes before
the sentence that may answer it."""
PAIRS = {
    "text": "pair",
    "sentence": "",
    "sentence1": "sentence2",
    "premise": "hypothesis",
    "question1": "question2",
    "question": "sentence",
}
"""Column of the text -> column of the second text, where that is there too."""
LABELS = ("label", "labels", "class", "target", "category")
FILES = {"train": ("train",), "val": ("val", "dev", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class Columns:
    """Names of the columns; empty where they are read off the first line.

    Attributes:
        text: Of the text.
        pair: Of a second text.
        label: Of the label.
    """

    text: str = ""
    pair: str = ""
    label: str = ""


@dataclass(frozen=True)
class Texts:
    """Texts of a file.

    Attributes:
        source: The file.
        lines: Number of the line of each text, from 1.
        texts: The texts.
        pairs: The second texts, or None.
        labels: The labels as they are written; empty texts where they were not asked for.
        columns: Names of the columns that these were read from.
    """

    source: str
    lines: list[int]
    texts: list[str]
    pairs: list[str] | None
    labels: list[str]
    columns: Columns = Columns()


def is_text(source: str) -> bool:
    """Whether a source looks like texts: a file by its ending and columns, or a folder of such."""
    if os.path.isdir(source):
        return find_split(source, "train") is not None
    ending = os.path.splitext(source)[1].lower()
    if ending != ".csv":
        return ending in ENDINGS
    try:
        with open(source, encoding="utf-8-sig", newline="") as file:
            header = [name.strip().lower() for name in next(csv.reader([file.readline()]), [])]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError):
        return False
    return "path" not in header and bool(set(TEXTS) & set(header))


def find_split(folder: str, split: str, endings: Sequence[str] = ENDINGS) -> str | None:
    """The file of a split in a folder, e.g. ``train.tsv``, or None."""
    for name in FILES[split]:
        for ending in endings:
            path = os.path.join(folder, name + ending)
            if os.path.isfile(path):
                return path
    return None


def read_texts(
    source: str, columns: Columns, *, labelled: bool = True, likely: bool = False
) -> Texts:
    """Reads a file.

    Args:
        source: A CSV with a header (quoted as CSVs are), a TSV with a header (quotes are plain
            characters), or JSON lines, one object a line; UTF-8.
        columns: Their names, where they are not the usual ones.
        labelled: Whether labels are read.
        likely: Whether the columns are what another file has: this one may have a usual name for
            the text instead, but must have a second text where that has one.

    Raises:
        UsageError: The file, or a line of it, is not as said.
    """
    ending = os.path.splitext(source)[1].lower()
    if ending not in ENDINGS:
        raise UsageError(f"{source!r} is no .csv, .tsv or .jsonl by its ending: rename it.")
    rows = _records(source, ending)
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{source!r} holds no texts: add one line a text.")
    header = list(first[1])
    asked = Columns() if likely and columns.text not in header else columns
    text, pair, label = named_columns(source, header, asked, labelled=labelled)
    if likely and columns.pair and not pair:
        raise UsageError(
            f"{source!r} has no second text beside {text!r}, as the training data have: add the "
            f"column {columns.pair!r}."
        )
    found = Texts(source, [], [], [] if pair else None, [], Columns(text, pair, label))
    rest = [first]
    for line, row in (*rest, *rows):
        for name in filter(None, (text, pair, label)):
            if not row.get(name, "").strip():
                raise UsageError(f"{source!r}, line {line}: the {name} is missing.")
        found.lines.append(line)
        found.texts.append(row[text])
        if found.pairs is not None:
            found.pairs.append(row[pair])
        found.labels.append(row[label].strip() if label else "")
    return found


def named_columns(
    source: str, header: list[str], columns: Columns, *, labelled: bool
) -> tuple[str, str, str]:
    """The columns of text, second text and label among those there are; empty where none is.

    Raises:
        UsageError: None has a usual name and none was named, or one was that is not there.
    """

    def named(kind: str, given: str, usual: tuple[str, ...]) -> str:
        if given:
            if given not in header:
                raise UsageError(
                    f"{source!r} has no column {given!r}, only {', '.join(header[:8])}: "
                    f"name another by the option {kind}."
                )
            return given
        return next((name for name in usual if name in header), "")

    text = named("text", columns.text, TEXTS)
    label = named("label", columns.label, LABELS) if labelled else ""
    for kind, name in (("text", text), ("label", label)):
        if not name and (labelled or kind == "text"):
            raise UsageError(
                f"{source!r} has the columns {', '.join(header[:8])}, none of which is a usual "
                f"name of the {kind}: name it by the option {kind}."
            )
    pair = named("pair", columns.pair, () if columns.text else (PAIRS.get(text, ""),))
    if len({text, pair, label} - {""}) < len([n for n in (text, pair, label) if n]):
        raise UsageError(
            f"The options text, pair and label name one column of {source!r} twice: name others."
        )
    return text, pair, label


def _records(source: str, ending: str) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with open(source, encoding="utf-8-sig", newline="") as file:
            if ending == ".jsonl":
                yield from _objects(source, file)
            else:
                yield from _rows(source, file, tabs=ending == ".tsv")
    except FileNotFoundError:
        raise UsageError(f"No such file: {source!r}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{source!r} is not UTF-8 text: save it as UTF-8.") from None
    except OSError as error:
        raise UsageError(f"{source!r} cannot be read ({error.strerror}).") from None


def _rows(source: str, file: Any, *, tabs: bool) -> Iterator[tuple[int, dict[str, str]]]:
    if tabs:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        first = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if not any(header):
            raise UsageError(f"{source!r} is empty: its first line must name the columns.")
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise UsageError(f"{source!r} names the column {twice!r} twice in its first line.")
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise UsageError(
                    f"{source!r}, line {reader.line_num}: there are {len(row)} values for "
                    f"{len(header)} columns."
                )
            yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error:
        raise UsageError(
            f"{source!r}, line {reader.line_num}: the line is no valid CSV, look at its quotes."
        ) from None


def _objects(source: str, file: Any) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise UsageError(f"{source!r}, line {number}: the line is no JSON object.")
        if not all(encodable(value) for value in content.values() if isinstance(value, str)):
            raise UsageError(
                f"{source!r}, line {number}: the line holds half a character (a lone surrogate): "
                "mend it."
            )
        yield (
            number,
            {
                str(key): value if isinstance(value, str) else json.dumps(value)
                for key, value in content.items()
                if isinstance(value, str | int) and not isinstance(value, bool)
            },
        )


def encodable(text: str) -> bool:
    """Whether a text can be written; JSON may hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def beside(source: str, given: str) -> str:
    """A file that an option names: as it is, or relative to the folder of the source."""
    folder = source if os.path.isdir(source) else os.path.dirname(source)
    near = Path(folder) / given
    return str(near) if near.is_file() or not os.path.isfile(given) else given
