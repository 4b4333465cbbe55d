"""Limits on what is measured, such as a latency, foreseen from the networks measured so far.

A limit on counted costs is kept by every draw. What is measured is known only behind the
measurement: where one network in a hundred keeps the limit, ninety-nine are built for nothing. So
the logarithm of each such cost is learnt from all that were measured, also from those that broke
the limit, by the Gaussian process of Bayesian optimisation, and what is unlikely to keep the limit
is not proposed. It decides nothing: each network is still measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..core.architecture import Architecture
from ..core.history import Record
from ..core.limit import Limit
from ..core.objective import COST_METRICS, Objective
from ..core.space import SearchSpace
from ..evaluation.context import Context
from .samplers.encoding import encoder
from .samplers.surrogate import Array, Surrogate, fit, squared_distances

__all__ = ["ForeseenLimit", "foreseen_limit", "measured_limits"]

STARTS = 10
"""Networks that are measured before anything is foreseen."""
DOUBT = 0.7
"""Standard deviations that a mean may lie beyond a limit: a chance of a quarter."""
OFTEN, SELDOM = 40, 10
"""Up to how many networks the lengths are fitted anew for each, and how seldom thereafter."""
MOST = 300
"""Networks of the latest that are learnt from."""
CHUNK, DRAWS = 64, 1024
"""Draws that are looked at together, and in all for one call."""


class Foreseen:
    """One measured cost as a Gaussian process of its logarithm.

    Args:
        space: The space.
        objective: The limit.
    """

    def __init__(self, space: SearchSpace, objective: Objective) -> None:
        assert objective.limit is not None
        self.objective, self._encode = objective, encoder(space)
        self._limit = float(np.log(max(objective.limit, 1e-12)))
        self._sign = 1.0 if objective.direction == "min" else -1.0
        self._theta: Array | None = None
        self._fitted_to = 0

    @property
    def ready(self) -> bool:
        """Whether it has learnt anything."""
        return self._theta is not None

    def learn(self, architectures: Sequence[Architecture], values: Sequence[float]) -> None:
        """Learns anew from all measured values."""
        logs = np.log(np.maximum(np.asarray(values, dtype=np.float64), 1e-12))
        n = len(architectures)
        wanted = n if n <= OFTEN else n - n % SELDOM
        if self._theta is None or wanted != self._fitted_to:
            # Of those that were known then, so that a resumed search has the same lengths.
            among, scores = self._learnt(architectures[:wanted], logs[:wanted])
            self._theta, self._fitted_to = fit(among, scores), wanted
        among, scores = self._learnt(architectures, logs)
        self._surrogate = Surrogate(among, scores, self._theta)

    def _learnt(
        self, architectures: Sequence[Architecture], logs: Array
    ) -> tuple[list[Array], Array]:
        """Distances among the latest, and their scores of mean 0 and deviation 1."""
        latest = logs[-MOST:]
        self._mean, self._std = float(latest.mean()), float(latest.std()) or 1.0
        self._seen = self._encode(architectures[-MOST:])
        among = [squared_distances(x, x) for x in self._seen]
        return among, (latest - self._mean) / self._std

    def beyond(self, architectures: Sequence[Architecture]) -> Array:
        """How far each [N] is thought to break the limit: 0 or less where it may keep it."""
        # Most are looked at once.
        points = self._encode(architectures, keep=False)
        across = [squared_distances(x, y) for x, y in zip(self._seen, points, strict=True)]
        mean, std = self._surrogate.predict(across)
        over = self._sign * (self._mean + self._std * mean - self._limit)
        found: Array = over - DOUBT * self._std * std
        return found


class ForeseenLimit(Limit):
    """A limit on counted costs, and what is foreseen of the measured ones.

    Draws are uniform among those that are likely to keep the limit; where none is found, what is
    nearest to it is taken, so that a search always goes on.

    Args:
        space: The space.
        counted: The limit on counted costs, or None.
        objectives: The limits on measured costs.
        records: The records of measured costs so far, in their order.
    """

    def __init__(
        self,
        space: SearchSpace,
        counted: Limit | None,
        objectives: Sequence[Objective],
        records: Callable[[], Sequence[Record]],
    ) -> None:
        super().__init__(space, {}, {})
        self.counted, self.objectives, self._records = counted, list(objectives), records
        self._foreseen = [Foreseen(space, objective) for objective in objectives]
        self._measured: dict[Architecture, bool] = {}
        self._used = 0

    def __str__(self) -> str:
        own = [str(self.counted)] if self.counted is not None else []
        return ", ".join([*own, *map(str, self.objectives)])

    @property
    def version(self) -> int:
        """Changes when what is allowed may."""
        self._update()
        return self._used

    def allows(self, architecture: Architecture) -> bool:
        """Whether it keeps the counted limit, and kept or is likely to keep the others."""
        self._update()
        if self.counted is not None and not self.counted.allows(architecture):
            return False
        known = self._measured.get(architecture)
        return float(self._beyond([architecture])[0]) <= 0 if known is None else known

    def sample(self, n: int, rng: np.random.Generator) -> list[Architecture]:
        """See the base."""
        self._update()
        found: list[Architecture] = []
        near: list[tuple[float, Architecture]] = []
        drawn = 0
        while len(found) < n and drawn < max(DRAWS, n):
            some = self.space.sample(CHUNK, rng, self.counted)
            drawn += len(some)
            for architecture, beyond in zip(some, self._beyond(some).tolist(), strict=True):
                known = self._measured.get(architecture)
                if known or (known is None and beyond <= 0):
                    found.append(architecture)
                near.append((beyond, architecture))
        near.sort(key=lambda pair: pair[0])
        spare = [architecture for _, architecture in near]
        while len(found) < n:
            found += spare[: n - len(found)]
        return found[:n]

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """See the base; of many mutants none of which is likely to keep it, the nearest."""
        mutants = [self.space.mutate(architecture, rng, self.counted) for _ in range(CHUNK)]
        for mutant in mutants:
            if self.allows(mutant):
                return mutant
        return mutants[int(np.argmin(self._beyond(mutants)))]

    def _update(self) -> None:
        records = self._records()
        if len(records) == self._used:
            return
        self._used = len(records)
        rows = [(self.space.architecture(r.architecture or {}), r.metrics) for r in records]
        for architecture, metrics in rows:
            self._measured[architecture] = all(o.allows(metrics) for o in self.objectives)
        if len(rows) >= STARTS:
            for one in self._foreseen:
                values = [metrics.get(one.objective.metric) for _, metrics in rows]
                pairs = [(a, v) for (a, _), v in zip(rows, values, strict=True) if v is not None]
                if len(pairs) >= STARTS:
                    one.learn([a for a, _ in pairs], [v for _, v in pairs])

    def _beyond(self, architectures: Sequence[Architecture]) -> Array:
        """The most by which each is thought to break a limit [N]."""
        told = [one.beyond(architectures) for one in self._foreseen if one.ready]
        return np.max(told, axis=0) if told else np.zeros(len(architectures))


def measured_limits(objectives: Sequence[Objective]) -> list[Objective]:
    """The limits on what is measured of a network before it is trained."""
    counted = "params", "macs"
    return [
        o
        for o in objectives
        if o.limit is not None and o.metric in COST_METRICS and o.metric not in counted
    ]


def foreseen_limit(context: Context, counted: Limit | None) -> Limit | None:
    """The limit that proposals of a search keep, which learns from its record.

    Args:
        context: Of the run.
        counted: The limit on counted costs, or None.
    """
    measured = measured_limits(context.objectives)
    if not measured:
        return counted
    history, seen = context.history, 0
    found: list[Record] = []

    def records() -> list[Record]:
        # Asked for each architecture that is looked at: only what is new is gone through.
        nonlocal seen
        if len(history.records) < seen:
            seen = 0
            found.clear()
        found.extend(r for r in history.records[seen:] if r.stage.endswith("/costs"))
        seen = len(history.records)
        return found

    return ForeseenLimit(context.space, counted, measured, records)
