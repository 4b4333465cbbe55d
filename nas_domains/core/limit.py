"""Limits on the costs of architectures, and draws that keep them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from . import registry
from .architecture import Architecture, Option
from .errors import UsageError
from .limited import LimitedDraws
from .objective import Objective

if TYPE_CHECKING:
    from .space import SearchSpace

Band = tuple[float, float]
"""The least and the most that a cost may be, both included."""

MOST_DRAWS = 500
"""Networks built one after the other that break a limit, after which it is out of reach."""
MOST_SUMS = 100_000
"""The same where an architecture's cost is a sum of table entries."""


@dataclass(frozen=True)
class CostTable:
    """What each option adds to a cost of an architecture, such as its parameters.

    Attributes:
        base: What every architecture costs.
        options: Choice -> option -> what it adds, 0 or more; a choice left out adds nothing.
        given: Choice -> (earlier choice, its option -> option -> what it adds), where the cost of
            an option depends on another choice; such a choice is not in ``options``.
        exact: Whether the sum is the cost itself. Otherwise it is a lower bound.
    """

    base: float
    options: Mapping[str, Mapping[Option, float]]
    given: Mapping[str, tuple[str, Mapping[Option, Mapping[Option, float]]]] = field(
        default_factory=dict
    )
    exact: bool = True

    def cost(self, architecture: Architecture) -> float:
        """The sum for an architecture."""
        total = self.base
        for name, option in architecture.items():
            total += self.added(name, option, architecture)
        return total

    def added(self, name: str, option: Option, others: Mapping[str, Option]) -> float:
        """What an option adds beside the options of earlier choices."""
        if name in self.given:
            other, columns = self.given[name]
            return columns[others[other]][option]
        return self.options.get(name, {}).get(option, 0)


class Limit:
    """Bands that the costs of an architecture must lie in; see :meth:`SearchSpace.limit`.

    Draws are exact where the costs have tables, of which two go into the table of
    ``PathSampler``: it draws uniformly from what keeps them. What is left (a third cost, tables of
    lower bounds, costs without a table) is checked, and drawn again where it does not hold, which
    keeps draws uniform too.

    Args:
        space: The space.
        bands: Cost -> (least, most), with infinities where one side is free.
        tables: Cost -> its table.
        costs: The true costs of an architecture, for what the tables do not tell; None where they
            tell all.

    Raises:
        UsageError: A cost that has neither a table nor ``costs``, or tables that do not fit the
            space.
    """

    def __init__(
        self,
        space: "SearchSpace",
        bands: Mapping[str, Band],
        tables: Mapping[str, CostTable],
        costs: Callable[[Architecture], Mapping[str, float | None]] | None = None,
    ) -> None:
        self.space = space
        self.bands = dict(bands)
        self.tables = {metric: tables[metric] for metric in bands if metric in tables}
        self.costs = costs
        unknown = [m for m in bands if costs is None and m not in self.tables]
        if unknown:
            raise UsageError(
                f"The space {space.name!r} has no table of {unknown[0]!r}: known are "
                f"{', '.join(tables) or 'none'}."
            )
        self._asks = costs is not None and not all(
            m in self.tables and self.tables[m].exact for m in bands
        )
        self._most = MOST_DRAWS if self._asks else MOST_SUMS
        self._whole: LimitedDraws | None = None

    @property
    def version(self) -> int:
        """Changes when what is allowed may; here it never does."""
        return 0

    def __str__(self) -> str:
        return ", ".join(self._text(metric, band) for metric, band in self.bands.items())

    @staticmethod
    def _text(metric: str, band: Band) -> str:
        low, high = (f"{end:.12g}" for end in band)
        if band[0] == -np.inf:
            return f"{metric}<={high}"
        return f"{metric}>={low}" if band[1] == np.inf else f"{low}<={metric}<={high}"

    def allows(self, architecture: Architecture) -> bool:
        """Whether an architecture keeps all bands."""
        for metric, table in self.tables.items():
            low, high = self.bands[metric]
            cost = table.cost(architecture)
            if cost > high or (table.exact and cost < low):
                return False
        if not self._asks:
            return True
        assert self.costs is not None
        found = self.costs(architecture)
        for metric, (low, high) in self.bands.items():
            value = found.get(metric)
            if value is None or not low <= value <= high:
                return False
        return True

    def sample(self, n: int, rng: np.random.Generator) -> list[Architecture]:
        """Draws n architectures uniformly from those that keep the limit.

        Raises:
            UsageError: There is none, or none was found.
        """
        if n < 1:
            return []
        if self._whole is None:
            self._whole = LimitedDraws(self)
        found: list[Architecture] = []
        misses = 0
        for architecture in self._whole.draws(rng, n):
            if len(found) == n:
                break
            if self.allows(architecture):
                found.append(architecture)
                misses = 0
                continue
            misses += 1
            if misses == self._most:
                raise UsageError(
                    f"None of {self._most} architectures drawn keeps {self}: raise the limit, or "
                    "make the space smaller with --space."
                )
        return found

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """As :meth:`SearchSpace.mutate`, of those mutants that keep the limit.

        Raises:
            UsageError: No mutant keeps it.
        """
        for _ in range(100):
            mutant = self.space.mutate(architecture, rng)
            if self.allows(mutant):
                return mutant
        # Mutants that keep the limit are rare: look at every option of every choice.
        samplers: list[LimitedDraws] = []
        shares: list[float] = []
        for choice in self.space.choices:
            if choice.name not in architecture:
                continue
            for option in choice.options:
                if option == architecture[choice.name]:
                    continue
                sampler = LimitedDraws(self, dict(architecture) | {choice.name: option})
                # In a mutation all choices are as likely, and all other options of each.
                share = sampler.fraction() / (len(choice.options) - 1)
                if share > 0:
                    samplers.append(sampler)
                    shares.append(share)
        weights = np.array(shares) / sum(shares) if shares else None
        for _ in range(self._most if samplers else 0):
            sampler = samplers[int(rng.choice(len(samplers), p=weights))]
            mutant = next(sampler.draws(rng, 1))
            if self.allows(mutant):
                return mutant
        raise UsageError(
            f"No mutant of this architecture of {self.space.name!r} keeps {self}: raise the "
            "limit, or mutate another."
        )


def bands_of(
    objectives: Sequence[str | Objective] | Mapping[str, Band], known: Sequence[str]
) -> dict[str, Band]:
    """Reads limits: ``["params<=1e6", ...]`` or ``{"params": (1e5, 1e6)}``.

    Args:
        objectives: Texts, objectives with limits, or bands.
        known: Costs that can be limited.

    Raises:
        UsageError: An objective without a limit, or on a metric that is not known.
    """
    bands: dict[str, Band] = {}
    if isinstance(objectives, Mapping):
        bands = {metric: (float(low), float(high)) for metric, (low, high) in objectives.items()}
    else:
        for given in objectives:
            o = Objective.parse(given, known) if isinstance(given, str) else given
            if o.limit is None:
                raise UsageError(f"The objective {str(o)!r} is no limit: write {o.metric}<=1e6.")
            bands[o.metric] = (-np.inf, o.limit) if o.direction == "min" else (o.limit, np.inf)
    for metric, (low, high) in bands.items():
        if metric not in known:
            raise UsageError(
                f"Draws cannot be limited by {metric!r}: known here are {', '.join(known)}."
            )
        if not low <= high:
            raise UsageError(f"The band {low} to {high} of {metric!r} is empty: swap its ends.")
    return bands


def limit_of(
    space: "SearchSpace",
    objectives: Sequence[str | Objective] | Mapping[str, Band],
    input_shape: tuple[int, ...],
    outputs: int,
) -> Limit:
    """The limit that objectives set to a space's networks for one input and output.

        limit = space.limit(["params<=1e5", "macs<=2e7"], (3, 32, 32), 10)
        architectures = space.sample(100, seed=1, limit=limit)

    Args:
        space: A space that builds networks or has tables of their costs.
        objectives: Limits on ``params``, ``macs`` or a cost that the space has a table of: as
            texts or objectives, or as a mapping to (least, most).
        input_shape: Shape of one input, without the batch.
        outputs: Size of the network's output.

    Raises:
        UsageError: An objective without a limit, or on another metric.
    """
    tables = space.cost_tables(input_shape, outputs)
    counted = [m for m in ("params", "macs") if m not in tables]
    bands = bands_of(objectives, [*tables, *counted])

    def costs(architecture: Architecture) -> Mapping[str, float | None]:
        network = space.build(architecture, input_shape, outputs)
        found: Mapping[str, float | None] = registry.actions.load("costs")(network, input_shape)
        return found

    asks = any(m not in tables or not tables[m].exact for m in bands)
    return Limit(space, bands, tables, costs if asks else None)
