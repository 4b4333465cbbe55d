"""Texts and tagged sentences of Hugging Face's hub, by name, through its library ``datasets``."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from ..core.errors import UsageError
from .tagged import TAGS, WORDS, Fields, Sentences
from .text import Columns, Texts, encodable, named_columns

PREFIX = "hf:"
SPLITS = {"train": ("train",), "val": ("validation", "val", "dev", "valid"), "test": ("test",)}
"""Our splits -> what theirs are called, the first that is there."""


def is_hub(source: str) -> bool:
    """Whether a source is ``hf:NAME`` or ``hf:NAME:CONFIGURATION``."""
    return source.startswith(PREFIX)


@cache
def open_hub(source: str) -> Mapping[str, Any]:
    """The splits of a data set, "train" always.

    Args:
        source: ``hf:`` and a name on the hub, or a folder that save_to_disk wrote or that holds
            parquet, CSV or JSON files; behind a colon the configuration, where there are several.

    Raises:
        UsageError: The library is missing, or there is no such data set (within reach).
    """
    if importlib.util.find_spec("datasets") is None:
        raise UsageError(
            f"{source!r} needs the package datasets: pip install 'nas_domains[hub]'."
        )
    import datasets

    name, _, configuration = source.removeprefix(PREFIX).partition(":")
    if not name:
        raise UsageError(f"{source!r} names no data set: write hf:NAME or hf:NAME:CONFIGURATION.")
    try:
        if os.path.isfile(os.path.join(name, "dataset_dict.json")):
            found: Any = datasets.load_from_disk(name)
        else:
            found = datasets.load_dataset(name, configuration or None)
    except Exception as error:  # it raises many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(f"{source!r} cannot be loaded ({reason[:200]}).") from None
    splits = {
        ours: next((found[theirs] for theirs in names if theirs in found), None)
        for ours, names in SPLITS.items()
    }
    if splits["train"] is None:
        raise UsageError(f"{source!r} has no split train, only {', '.join(found)[:100]}.")
    return {name: split for name, split in splits.items() if split is not None}


def holds_tags(source: str) -> bool:
    """Whether its rows are words with a tag each, and no texts."""
    features = open_hub(source)["train"].features
    return any(_is_list(features.get(name)) for name in WORDS) and not any(
        getattr(feature, "dtype", "") in ("string", "large_string")
        for name, feature in features.items()
        if name in ("text", "sentence", "label")
    )


def hub_texts(source: str, columns: Columns) -> dict[str, Texts]:
    """The texts of each split; one without labels is left out.

    Raises:
        UsageError: A column or a value is missing.
    """
    found: dict[str, Texts] = {}
    for split, rows in open_hub(source).items():
        header = [name for name, kind in rows.features.items() if not _is_list(kind)]
        text, pair, label = named_columns(source, header, columns, labelled=True)
        labels = _values(rows, label)
        if split != "train" and set(labels) <= {None}:
            continue
        part = Texts(
            f"{source} ({split})",
            list(range(1, len(rows) + 1)),
            _values(rows, text),
            _values(rows, pair) if pair else None,
            labels,
            Columns(text, pair, label),
        )
        for kind, values in (("text", part.texts), ("pair", part.pairs), ("label", labels)):
            for row, value in enumerate(values or (), 1):
                if not (value or "").strip() or not encodable(value):
                    raise UsageError(f"{part.source!r}, row {row}: the {kind} is missing.")
        found[split] = part
    return found


def hub_sentences(source: str, fields: Fields) -> dict[str, Sentences]:
    """The tagged sentences of each split.

    Raises:
        UsageError: A column or a value is missing, or words and tags are not as many.
    """
    found: dict[str, Sentences] = {}
    for split, rows in open_hub(source).items():
        lists = [name for name, kind in rows.features.items() if _is_list(kind)]
        word, tag = (
            _list_column(source, lists, kind, given, usual)
            for kind, given, usual in (("word", fields.word, WORDS), ("tag", fields.tag, TAGS))
        )
        name_of = _namer(rows.features[tag].feature)
        words, tags = list(rows[word]), [[name_of(v) for v in row] for row in rows[tag]]
        place = f"{source} ({split})"
        for row, (own, theirs) in enumerate(zip(words, tags, strict=True), 1):
            if len(own) != len(theirs):
                raise UsageError(
                    f"{place!r}, row {row}: there are {len(theirs)} tags for {len(own)} words."
                )
            if not all(w and w.strip() and encodable(w) for w in own) or None in theirs:
                raise UsageError(f"{place!r}, row {row}: a word or a tag is missing.")
        kept = [i for i, own in enumerate(words) if own]
        found[split] = Sentences(
            place,
            [i + 1 for i in kept],
            [list(words[i]) for i in kept],
            [[str(t) for t in tags[i]] for i in kept],
        )
        if not kept:
            raise UsageError(f"{place!r} holds no sentences: use another data set.")
    return found


def _is_list(feature: Any) -> bool:
    return hasattr(feature, "feature")


def _list_column(
    source: str, lists: list[str], kind: str, given: str, usual: tuple[str, ...]
) -> str:
    name = given or next((n for n in usual if n in lists), "")
    if name not in lists:
        raise UsageError(
            f"{source!r} has the lists {', '.join(lists) or 'none'}, none of which is "
            f"{given or 'a usual name of the ' + kind + 's'}: name it by the option {kind}."
        )
    return name


def _namer(feature: Any) -> Callable[[Any], str | None]:
    """What a value of a column is called; None where it is missing."""
    names = getattr(feature, "names", None)

    def name(value: Any) -> str | None:
        if value is None or (names and not 0 <= value < len(names)):
            return None
        return str(names[value]) if names else str(value)

    return name


def _values(rows: Any, column: str) -> list[Any]:
    name = _namer(rows.features[column])
    return [name(value) for value in rows[column]]
