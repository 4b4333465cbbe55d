"""Budgets: an exact amount (``epochs=20``, ``trials=50``) or a time (``10m``)."""

import math
import re
from dataclasses import dataclass, field

from .errors import UsageError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
COUNTS = ("epochs", "steps", "trials")
_TIME = re.compile(r"^(\d+(?:\.\d+)?)([smh])$")
_COUNT = re.compile(r"^0*[1-9][0-9]{0,17}$")


@dataclass(frozen=True)
class Budget:
    """What may be spent: seconds, or exact counts.

    Attributes:
        seconds: A time, or None where counts are given.
        counts: E.g. {"trials": 50, "epochs": 5}.
        text: As it was written.
    """

    seconds: float | None
    counts: dict[str, int] = field(default_factory=dict)
    text: str = ""

    @staticmethod
    def parse(text: str) -> "Budget":
        """Reads ``90s``, ``10m``, ``1.5h``, ``epochs=20`` or ``trials=50,epochs=5``.

        Raises:
            UsageError: Not that form, or nothing to spend.
        """
        match = _TIME.match(text.strip())
        if match:
            seconds = float(match[1]) * UNITS[match[2]]
            if not 0 < seconds < math.inf:
                raise UsageError(f"The budget {text!r} is not a time to spend: give more than 0.")
            return Budget(seconds, {}, text)
        counts: dict[str, int] = {}
        for part in text.split(","):
            key, _, value = part.strip().partition("=")
            if key not in COUNTS or not _COUNT.match(value) or key in counts:
                raise UsageError(
                    f"{text!r} is not a budget: write a time such as 90s, 10m or 1h, or a count "
                    "such as epochs=20 or trials=50."
                )
            counts[key] = int(value)
        return Budget(None, counts, text)

    def only(self, *allowed: str) -> dict[str, int]:
        """The counts, if they are all of the allowed kinds.

        Raises:
            UsageError: A count that does not fit here.
        """
        for key in self.counts:
            if key not in allowed:
                raise UsageError(
                    f"The budget {self.text!r} does not fit here: use a time, or "
                    f"{' or '.join(f'{a}=N' for a in allowed)}."
                )
        return self.counts

    def fit(self, seconds_per_unit: float) -> int:
        """How many units of that cost come nearest to the time; at least one."""
        assert self.seconds is not None
        return max(1, math.floor(self.seconds / max(seconds_per_unit, 1e-9) + 0.5))
