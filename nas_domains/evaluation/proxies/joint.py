"""Several proxies as one: the mean of the ranks that they give."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata, spearmanr

Scores = Mapping[str, float | None]

TRUSTED = ("jacov", "naswot", "synflow")
"""Taken where none are named: together they rank better than each alone or than the number of
parameters, as benchmarks/joint_nasbench201.py prints."""


def joint_ranks(scores: Sequence[Scores]) -> list[float]:
    """The mean over proxies of an architecture's rank, which no proxy's scale or outlier rules.

    An architecture's joint rank depends on what it is ranked among.

    Args:
        scores: For each architecture scores by the same proxies; larger is better, None is worst.

    Returns:
        0 (last by all proxies) to 1 (first by all) for each; of equals the mean.
    """
    if not scores:
        return []
    if len(scores) == 1:
        return [1.0]
    columns = [
        rankdata([-np.inf if (v := s[name]) is None else v for s in scores]) for name in scores[0]
    ]
    ranks = (np.mean(columns, axis=0) - 1) / (len(scores) - 1)
    return [float(rank) for rank in ranks]


def size_bias(ranks: Sequence[float], sizes: Sequence[float]) -> float:
    """Spearman's correlation of joint ranks with a size, such as the number of parameters.

    Near 1 the proxies say little more than the size does.

    Args:
        ranks: Of the architectures [N].
        sizes: Of the same [N].

    Returns:
        -1 to 1; NaN of fewer than three, or where one side has a single value.
    """
    if len(ranks) < 3 or len(set(ranks)) == 1 or len(set(sizes)) == 1:
        return float("nan")
    return float(spearmanr(ranks, sizes).statistic)
