"""A CSV of image files, or of others, with labels, groups and splits."""

import csv
import os
from collections.abc import Iterator

from ..core.errors import UsageError
from .files import SPLIT_NAMES, LabelledFiles
from .kinds import IMAGES, FileKind

_COLUMNS = ("path", "label", "group", "split")


def read_table(source: str, kind: FileKind = IMAGES) -> LabelledFiles:
    """Reads a CSV with the columns path, label and optionally group and split, in any order.

    Paths are relative to the CSV. Commas, semicolons and tabs separate; other columns are passed
    over. The files are listed in sorted order of their paths.

    Args:
        source: The CSV file, UTF-8.
        kind: What the files are called in errors.

    Raises:
        UsageError: The table, or a line of it, is not as said above.
    """
    rows = list(table_rows(source, ("path", "label")))
    has = {name: any(row.get(name) for _, row in rows) for name in ("group", "split")}
    folder = os.path.dirname(source)
    seen: dict[str, int] = {}
    made: list[tuple[str, str, str, str]] = []
    for line, row in rows:
        for name in ("path", "label", *(name for name, used in has.items() if used)):
            if not row.get(name):
                raise UsageError(f"{source!r}, line {line}: the {name} is missing.")
        part = SPLIT_NAMES.get(row["split"].lower()) if has["split"] else "train"
        if part is None:
            raise UsageError(
                f"{source!r}, line {line}: the split {row['split']!r} is not train, val or test."
            )
        path = os.path.normpath(os.path.join(folder, row["path"]))
        if not os.path.isfile(path):
            raise UsageError(f"{source!r}, line {line}: there is no file {row['path']!r}.")
        if path in seen:
            raise UsageError(
                f"{source!r}, line {line}: the {kind.one} of line {seen[path]} is named again, "
                f"{row['path']!r}."
            )
        seen[path] = line
        made.append((path, row["label"], part, row["group"] if has["group"] else ""))
    made.sort()
    paths, labels, parts, groups = (list(column) for column in zip(*made, strict=True))
    if "train" not in parts:
        raise UsageError(f"{source!r} has no line whose split is train.")
    return LabelledFiles(source, paths, labels, parts, groups if has["group"] else None)


def table_rows(source: str, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a table.

    Args:
        source: The CSV file.
        needed: Columns that it must have.

    Yields:
        The line number, from 1, and the known columns of that line, stripped.

    Raises:
        UsageError: It is missing, unreadable or empty, or lacks a column or a value.
    """
    try:
        with open(source, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            _check_header(source, header, needed)
            empty = True
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(header):
                    raise UsageError(
                        f"{source!r}, line {reader.line_num}: there are {len(row)} values for "
                        f"{len(header)} columns."
                    )
                empty = False
                named = zip(header, row, strict=True)
                yield reader.line_num, {n: v.strip() for n, v in named if n in _COLUMNS}
            if empty:
                raise UsageError(f"{source!r} has a header but no lines: add one line a file.")
    except FileNotFoundError:
        raise UsageError(f"No such file: {source!r}.") from None
    except PermissionError:
        raise UsageError(f"No permission to read {source!r}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{source!r} is not UTF-8 text: save it as UTF-8.") from None
    except csv.Error:
        raise UsageError(
            f"{source!r}, line {reader.line_num}: the line is no valid CSV, look at its quotes."
        ) from None
    except OSError:
        raise UsageError(f"{source!r} cannot be read as a table.") from None


def _check_header(source: str, header: list[str], needed: tuple[str, ...]) -> None:
    if not any(header):
        raise UsageError(f"{source!r} is empty: its first line must name {' and '.join(needed)}.")
    for name in needed:
        if name not in header:
            raise UsageError(
                f"{source!r} has no column {name!r}, only {', '.join(header[:6])}: its first "
                f"line must name {' and '.join(needed)}."
            )
    for name in _COLUMNS:
        if header.count(name) > 1:
            raise UsageError(f"{source!r} names the column {name!r} twice in its first line.")
