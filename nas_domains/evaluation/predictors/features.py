"""Features of architectures: encodings of their choices, and scores by proxies."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...core.architecture import Architecture
from ...core.errors import UsageError
from ...core.space import SearchSpace
from .base import Array


def features(
    space: SearchSpace,
    architectures: Sequence[Architecture],
    *,
    encodings: Sequence[str] = ("one-hot",),
    proxies: Sequence[Mapping[str, float | None]] | None = None,
) -> Array:
    """What a predictor learns from.

    Args:
        space: Of the architectures.
        architectures: N of them.
        encodings: Out of those of :meth:`SearchSpace.encode`, side by side.
        proxies: For each architecture scores by the same names, as a :class:`ProxyEvaluator`
            gives them; None within is missing.

    Returns:
        [N, D]; minus infinity where a score is missing.

    Raises:
        UsageError: Neither encodings nor proxies, an unknown encoding, or scores that are not of
            the same names or not one for each architecture.
    """
    if not encodings and not proxies:
        raise UsageError("Features need an encoding or proxies: name one-hot or path.")
    columns = [
        np.array([np.asarray(space.encode(a, kind)) for a in architectures], dtype=np.float64)
        for kind in encodings
    ]
    if proxies is not None:
        names = sorted(proxies[0]) if proxies else []
        if len(proxies) != len(architectures) or any(sorted(p) != names for p in proxies):
            raise UsageError(
                f"Features need scores by the same proxies for each of {len(architectures)} "
                f"architectures, and got {len(proxies)}: score all alike."
            )
        rows = [[-np.inf if (v := p[name]) is None else v for name in names] for p in proxies]
        columns.append(np.array(rows, dtype=np.float64).reshape(len(proxies), len(names)))
    return np.concatenate([c.reshape(len(architectures), -1) for c in columns], axis=1)
