"""Numbers that a user names: sizes of spaces, several written as ``16-24-40``, and options."""

import math
from collections.abc import Collection, Sequence
from typing import Any

from .errors import UsageError

Numbers = str | float | Sequence[float]
"""One number, several, or a text of several such as "3-5-7"."""


def numbers_of(
    space: str, name: str, given: Numbers, *, fractions: bool = False, zero: bool = False
) -> list[Any]:
    """The numbers of an argument of a space, in the order given.

    Args:
        space: The name of the space, for errors.
        name: The name of the argument.
        given: What the user gave.
        fractions: Whether they may be fractions.
        zero: Whether they may be 0.

    Raises:
        UsageError: None, or one that is no number above 0 (or from 0 on).
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
        enough = number >= 0 if zero else number > 0
        if not (enough and number < math.inf and (whole or fractions)) or isinstance(part, bool):
            kind = f"{'numbers' if fractions else 'whole numbers'} {'>= 0' if zero else '> 0'}"
            raise UsageError(
                f"{name}={given!r} of the space {space!r} must be {kind}, such as 2 or 2-3."
            )
        numbers.append(int(number) if whole else number)
    if not numbers:
        raise UsageError(f"{name} of the space {space!r} is empty: name at least one number.")
    return numbers


def options_of(
    space: str, name: str, given: Numbers, *, fractions: bool = False, zero: bool = False
) -> list[Any]:
    """The same as options of a choice: ascending, and none twice.

    Raises:
        UsageError: As :func:`numbers_of`, or a number twice.
    """
    numbers = sorted(numbers_of(space, name, given, fractions=fractions, zero=zero))
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


def share_below_one(space: str, name: str, given: object) -> float:
    """A share from 0 to below 1, such as a dropout.

    Args:
        space: The name of the space, for errors.
        name: The name of the argument.
        given: What the user gave.

    Raises:
        UsageError: Anything else.
    """
    number = given if isinstance(given, int | float) and not isinstance(given, bool) else math.nan
    if not 0 <= number < 1:
        raise UsageError(
            f"{name}={given!r} of the space {space!r} must be a number from 0 to below 1."
        )
    return float(number)


def whole_from(name: str, given: object, least: int) -> int:
    """A whole number that a user gave for an option of a task.

    Args:
        name: The name of the option.
        given: What the user gave.
        least: The least that it may be, 0 or more.

    Raises:
        UsageError: Anything else.
    """
    text = str(given)
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise UsageError(f"{name}={given!r} must be a whole number from {least} on.")
    return int(text)


def check_known(task: str, known: Sequence[str], given: Collection[str]) -> None:
    """Refuses options that a task does not have.

    Raises:
        UsageError: Such an option.
    """
    for option in given:
        if option not in known:
            raise UsageError(
                f"The task {task!r} has no option {option!r}: known are {', '.join(known)}."
            )
