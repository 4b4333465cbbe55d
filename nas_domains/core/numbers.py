"""Sizes of spaces that are several numbers, written as ``16-24-40``."""

import math
from collections.abc import Sequence
from typing import Any

from .errors import UsageError

Numbers = str | float | Sequence[float]
"""One number, several, or a text of several such as "3-5-7"."""


def numbers_of(space: str, name: str, given: Numbers, *, fractions: bool = False) -> list[Any]:
    """The numbers of an argument of a space, in the order given.

    Args:
        space: The name of the space, for errors.
        name: The name of the argument.
        given: What the user gave.
        fractions: Whether they may be fractions.

    Raises:
        UsageError: None, or one that is no number above 0.
    """
    parts: Sequence[Any] = [given] if isinstance(given, int | float) else given
    if isinstance(given, str):
        parts = given.split("-")
    numbers: list[Any] = []
    for part in parts:
        try:
            number = float(part)
        except (TypeError, ValueError):
            number = math.nan
        whole = number.is_integer()
        if not 0 < number < math.inf or not (whole or fractions) or isinstance(part, bool):
            kind = "numbers" if fractions else "whole numbers"
            raise UsageError(
                f"{name}={given!r} of the space {space!r} must be {kind} > 0, such as 2 or 2-3."
            )
        numbers.append(int(number) if whole else number)
    if not numbers:
        raise UsageError(f"{name} of the space {space!r} is empty: name at least one number.")
    return numbers


def options_of(space: str, name: str, given: Numbers, *, fractions: bool = False) -> list[Any]:
    """The same as options of a choice: ascending, and none twice.

    Raises:
        UsageError: As :func:`numbers_of`, or a number twice.
    """
    numbers = sorted(numbers_of(space, name, given, fractions=fractions))
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"{name}={given!r} of the space {space!r} names a number twice.")
    return numbers


def one_of(space: str, name: str, given: Numbers) -> int:
    """One whole number.

    Raises:
        UsageError: As :func:`numbers_of`, or several.
    """
    numbers = numbers_of(space, name, given)
    if len(numbers) != 1:
        raise UsageError(f"{name}={given!r} of the space {space!r} must be one number.")
    return int(numbers[0])


def odd(space: str, name: str, kernels: Sequence[int]) -> None:
    """Refuses kernels without a centre.

    Raises:
        UsageError: An even one.
    """
    even = [kernel for kernel in kernels if kernel % 2 == 0]
    if even:
        raise UsageError(f"{name}={even[0]} of the space {space!r} has no centre: make it odd.")
