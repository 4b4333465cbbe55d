"""The options of medical tasks, read from text."""

import math
import re

from ..core.errors import UsageError
from ..data.decathlon import Case


def yes(name: str, given: object) -> bool:
    """Whether an option says yes.

    Raises:
        UsageError: Neither yes nor no.
    """
    words = {"yes": True, "true": True, "no": False, "false": False}
    if str(given).lower() not in words:
        raise UsageError(f"{name}={given!r} must be yes or no.")
    return words[str(given).lower()]


def share_of(name: str, given: object) -> float:
    """A share above 0 and up to 1.

    Raises:
        UsageError: Anything else.
    """
    share = _number(given)
    if not 0 < share <= 1:
        raise UsageError(f"{name}={given!r} must be a share above 0 and up to 1, such as 0.25.")
    return share


def folds_of(given: object) -> tuple[int, int] | None:
    """Reads "1/5" as (1, 5); None stays None.

    Raises:
        UsageError: Anything else.
    """
    if given is None:
        return None
    which, _, of = str(given).partition("/")
    if not (which.isascii() and which.isdigit() and of.isascii() and of.isdigit()):
        raise UsageError(f"fold={given!r} is not understood: write 1/5 for the first of five.")
    if int(of) < 2 or not 1 <= int(which) <= int(of):
        raise UsageError(f"fold={given!r} does not exist: the folds of 5 are 1/5 to 5/5.")
    return int(which), int(of)


def pattern_of(given: object) -> re.Pattern[str] | None:
    """Reads the pattern of a patient's name in those of cases; None stays None.

    Raises:
        UsageError: It is no regular expression.
    """
    if given is None:
        return None
    try:
        return re.compile(str(given))
    except re.error as error:
        raise UsageError(
            f"patient={given!r} is no regular expression ({error}): write, for names such as "
            r"p07_scan2, patient=p\d+."
        ) from None


def patient_of(case: Case, pattern: re.Pattern[str]) -> str:
    """Whose a case is: what the pattern finds in its name, or the first group of that.

    Raises:
        UsageError: The pattern finds nothing.
    """
    found = pattern.search(case.name)
    patient = (found[1] if pattern.groups else found[0]) if found else ""
    if not patient:
        raise UsageError(
            f"patient={pattern.pattern!r} finds no patient in the name of the case {case.name!r}: "
            "change the pattern, or the name."
        )
    return patient


def dims_of(given: object) -> int | None:
    """Reads 2 or 3; None stays None.

    Raises:
        UsageError: Anything else.
    """
    if given is not None and str(given) not in ("2", "3"):
        raise UsageError(f"dims={given!r} must be 2, for slices one by one, or 3, for volumes.")
    return None if given is None else int(str(given))


def sides_of(name: str, given: object) -> tuple[int, ...]:
    """Reads "32x48x32", or "32x48" of slices: multiples of 8.

    Raises:
        UsageError: Anything else.
    """
    sides = [_number(part) for part in str(given).lower().split("x")]
    if len(sides) not in (2, 3) or not all(side > 0 and side % 8 == 0 for side in sides):
        raise UsageError(
            f"{name}={given!r} must be multiples of 8, such as 32x48x32, or 32x48 for slices."
        )
    return tuple(int(side) for side in sides)


def spacing_of(given: object) -> tuple[float, ...]:
    """Reads "1x1x2.5", in millimetres.

    Raises:
        UsageError: Anything else.
    """
    sides = [_number(part) for part in str(given).lower().split("x")]
    if len(sides) != 3 or not all(0 < side < math.inf for side in sides):
        raise UsageError(f"spacing={given!r} must be three lengths in mm, such as 1x1x2.5.")
    return tuple(sides)


def _number(given: object) -> float:
    try:
        return float(str(given))
    except ValueError:
        return math.nan
