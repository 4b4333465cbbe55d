"""From labels as written to class numbers, with the checks that classification needs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import UsageError
from .splits import Labels


def integer_labels(where: str, values: npt.NDArray[Any]) -> Labels:
    """Labels of a file as integers.

    Args:
        where: File and array, for errors.
        values: Labels [N] or [N, 1], of an integer type or holding whole numbers.

    Returns:
        Labels int64 [N].

    Raises:
        UsageError: Another shape or type, or a negative label.
    """
    if values.ndim == 2 and values.shape[1] > 1:
        raise UsageError(
            f"{where} has {values.shape[1]} labels a sample: only one label a sample can be "
            "learned here."
        )
    if values.ndim not in (1, 2) or values.size == 0:
        raise UsageError(f"{where} has the shape {values.shape}: it must be [N] or [N, 1].")
    if values.dtype.kind not in "biuf":
        raise UsageError(f"{where} is of type {values.dtype}: labels must be integers.")
    flat = values.reshape(-1)
    if flat.dtype.kind == "f":
        # NaN fails the comparison with its own floor.
        broken = np.flatnonzero(~((flat == np.floor(flat)) & np.isfinite(flat)))
        if len(broken):
            raise UsageError(
                f"{where} holds {flat[broken[0]]} at index {broken[0]}: labels must be integers."
            )
    if flat.dtype.kind != "b" and flat.min() < 0:
        index = int(np.flatnonzero(flat < 0)[0])
        raise UsageError(
            f"{where} holds {flat[index]} at index {index}: labels must not be negative."
        )
    return flat.astype(np.int64)


def encode_labels(
    source: str, parts: Mapping[str, npt.NDArray[Any]]
) -> tuple[dict[str, Labels], tuple[str, ...]]:
    """Numbers the classes of the training split 0, 1, ... in sorted order.

    Args:
        source: What the data is called in errors.
        parts: Labels [n] of each split, integers or strings; "train" is among them.

    Returns:
        The class numbers int64 [n] of each split, and the classes' names.

    Raises:
        UsageError: One class only, fewer than two training samples a class on average, or a label
            of another split that training does not hold.
    """
    values, number = np.unique(parts["train"], return_counts=True)
    names = tuple(str(value) for value in values.tolist())
    if len(values) < 2:
        raise UsageError(
            f"{source!r} has one class only ({names[0]!r}): classification needs two or more."
        )
    if number.sum() < 2 * len(values):
        raise UsageError(
            f"{source!r} has {number.sum()} training samples for {len(values)} classes: it needs "
            "at least twice as many samples as classes."
        )
    encoded: dict[str, Labels] = {}
    for name, labels in parts.items():
        unseen = labels[~np.isin(labels, values)]
        if len(unseen):
            raise UsageError(
                f"{source!r} has the label {str(unseen[0])!r} in its {name} split, which is not "
                "among its training labels."
            )
        encoded[name] = np.searchsorted(values, labels).astype(np.int64)
    return encoded, names


def numeric_classes(names: npt.NDArray[np.str_]) -> npt.NDArray[Any]:
    """Makes class names that are all whole numbers integers, so that 10 sorts after 9.

    Args:
        names: Class of each sample [N].

    Returns:
        Integers [N], or the names as they were where one is anything else ("07", "cat").
    """
    if all(_digits(name) and str(int(name)) == name for name in np.unique(names).tolist()):
        return names.astype(np.int64)
    return names


def _digits(name: str) -> bool:
    # Eighteen digits always fit into an int64.
    return name.isascii() and name.isdigit() and len(name) <= 18
