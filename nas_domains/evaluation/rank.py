"""How well scores rank architectures against the truth, and what a search gains over chance."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..core.errors import UsageError

Values = Sequence[float] | npt.NDArray[np.float64]


def kendall_tau(scores: Values, truth: Values) -> float:
    """Kendall's rank correlation in its form tau-b, which takes ties into account (Kendall 1945).

    Args:
        scores: [N], larger is better.
        truth: [N], larger is better.

    Returns:
        -1 (reversed) to 1 (the same order); NaN where one side has a single value.

    Raises:
        UsageError: Unequal lengths, fewer than two values, or one that is not finite.
    """
    a, b = _checked(scores, truth)
    return float(stats.kendalltau(a, b, variant="b").statistic)


def top_tau(scores: Values, truth: Values, share: float = 0.2) -> float:
    """:func:`kendall_tau` among the best by truth, where the ranks of shared weights break.

    Args:
        scores: [N], larger is better.
        truth: [N], larger is better.
        share: Of the N that count as the best, rounded up; of equals the earlier.

    Raises:
        UsageError: As :func:`kendall_tau`, or a share out of range or that leaves fewer than two.
    """
    a, b = _checked(scores, truth)
    if not 0 < share <= 1:
        raise UsageError(f"The share {share} of the best must lie in (0, 1]: 0.2 is usual.")
    # A share such as 0.2 of 10 is a little more than 2 in binary.
    number = math.ceil(share * len(b) - 1e-9)
    if number < 2:
        raise UsageError(
            f"The best {share:g} of {len(b)} architectures are fewer than two: score more of them."
        )
    best = np.argsort(-b, kind="stable")[:number]
    return kendall_tau(a[best], b[best])


def relative_gain(chosen: float, randoms: Values) -> float:
    """(chosen - mean) / mean, the gain over the average random architecture.

    The relative improvement of Yang, Esperanca & Carlucci (2020, arXiv 1912.12522): it compares
    what a search adds between spaces and tasks that differ in how good chance already is.

    Args:
        chosen: True metric of the chosen architecture, larger is better.
        randoms: True metrics [N] of random architectures of the same space and recipe.

    Raises:
        UsageError: No values, one that is not finite, or a mean of zero.
    """
    values = np.asarray(randoms, dtype=np.float64).reshape(-1)
    if len(values) == 0 or not np.isfinite([chosen, *values]).all() or values.mean() == 0:
        raise UsageError(
            "A relative gain needs finite metrics of random architectures whose mean is not zero: "
            "leave out those that have none."
        )
    return float((chosen - values.mean()) / values.mean())


def _checked(
    scores: Values, truth: Values
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    a, b = (np.asarray(x, dtype=np.float64).reshape(-1) for x in (scores, truth))
    if len(a) != len(b) or len(a) < 2:
        raise UsageError(
            f"A rank correlation needs as many scores as truths and at least two, not {len(a)} "
            f"and {len(b)}: score the same architectures."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UsageError("A rank correlation takes finite numbers: leave out what has no score.")
    return a, b
