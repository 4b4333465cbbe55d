"""Draws of architectures under a limit, by ``PathSampler`` where it was compiled."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import registry
from .architecture import Architecture, Option
from .errors import UsageError

if TYPE_CHECKING:
    from .limit import Limit
    from .space import Choice


class LimitedDraws:
    """The choices of a space as ``PathSampler`` takes them, with two costs at most.

    Args:
        limit: The limit.
        fixed: Choice -> the only option that it may take.
    """

    def __init__(self, limit: "Limit", fixed: Mapping[str, Option] | None = None) -> None:
        self.limit = limit
        self.space = limit.space
        self.fixed = dict(fixed or {})
        self.metrics = list(limit.tables)[:2]
        self.tables = [limit.tables[m] for m in self.metrics]
        self.columns: list[tuple[str, tuple[Option, ...]]] = []
        self.parents: list[int] = []
        self.active: list[list[int]] = []
        self.costs: list[list[list[float]]] = [[] for _ in self.tables]
        for choice in self.space.choices:
            self._add(choice)
        self.bands = []
        for metric, table in zip(self.metrics, self.tables, strict=True):
            low, high = limit.bands[metric]
            # A lower bound may lie under a band that the true cost is in.
            self.bands.append((low - table.base if table.exact else -np.inf, high - table.base))
        self.compiled = self._compiled()

    def _add(self, choice: "Choice") -> None:
        """Adds the columns of a choice: one for each way in which others decide its costs."""
        options = choice.options
        if choice.name in self.fixed:
            options = tuple(o for o in options if o == self.fixed[choice.name])
        others = {t.given[choice.name][0] for t in self.tables if choice.name in t.given}
        if len(others) > 1 or (others and choice.parent not in (None, *others)):
            raise UsageError(
                f"The costs of the choice {choice.name!r} depend on more than one other choice: "
                "give its tables as lower bounds instead."
            )
        other = next(iter(others), choice.parent)
        if other is None:
            self._column(choice.name, options, -1, [], {})
            return
        names = [name for name, _ in self.columns]
        if other not in names:  # it is always absent beside what is fixed
            return
        index = names.index(other)
        if any(name == other for name, _ in self.columns[index + 1 :]):
            raise UsageError(
                f"The choice {choice.name!r} depends on {other!r}, whose own costs depend on "
                "another: give their tables as lower bounds instead."
            )
        # Options of the other choice under which this one costs the same share a column.
        groups: dict[tuple[float, ...], list[int]] = {}
        for i, option in enumerate(self.columns[index][1]):
            if choice.parent is None or option in choice.when:
                seen = {other: option}
                costs = (t.added(choice.name, o, seen) for t in self.tables for o in options)
                groups.setdefault(tuple(costs), []).append(i)
        if choice.parent is None and len(groups) == 1:
            # No parent: what decides the costs is there, and it decides alike.
            self._column(choice.name, options, -1, [], {other: self.columns[index][1][0]})
            return
        for active in groups.values():
            seen = {other: self.columns[index][1][active[0]]}
            self._column(choice.name, options, index, active, seen)

    def _column(
        self,
        name: str,
        options: tuple[Option, ...],
        parent: int,
        active: list[int],
        seen: Mapping[str, Option],
    ) -> None:
        self.columns.append((name, options))
        self.parents.append(parent)
        self.active.append(active)
        for costs, table in zip(self.costs, self.tables, strict=True):
            costs.append([float(table.added(name, o, seen)) for o in options])

    def _compiled(self) -> Any:
        """The compiled sampler, or None where it was not compiled or no cost has a table."""
        path_sampler = registry.actions.load("path-sampler")()
        if path_sampler is None or not self.tables:
            return None
        second = self.costs[1] if len(self.costs) > 1 else None
        return path_sampler(self.costs[0], self.parents, self.active, second=second)

    def fraction(self) -> float:
        """The share of architectures that keep the bands with tables; 1 where it is not known."""
        if self.compiled is None:
            return 1.0
        share = self.compiled.fraction(*self.bands)
        return float(np.mean(share))

    def draws(self, rng: np.random.Generator, n: int) -> Iterator[Architecture]:
        """Draws without end, made n at a time."""
        if self.compiled is None:
            while True:
                yield self.space.complete(self.fixed, rng)
        seed, offset = int(rng.integers(2**63)), 0
        while True:
            try:
                rows = self.compiled.sample(n, seed, *self.bands, offset=offset)
            except ValueError as error:
                raise self._refusal() from error
            offset += n
            yield from map(self._architecture, rows)

    def _architecture(self, row: Sequence[int]) -> Architecture:
        # A choice has several columns, of which one is present, next to each other.
        found = tuple(
            (name, options[option])
            for (name, options), option in zip(self.columns, row, strict=True)
            if option >= 0
        )
        return Architecture(found, self.space.fingerprint)

    def _refusal(self) -> UsageError:
        least = [self.compiled.min_cost, self.compiled.min_second]
        cheapest = " and ".join(
            f"{metric}={least[i] + table.base:.12g}"
            for i, (metric, table) in enumerate(zip(self.metrics, self.tables, strict=True))
        )
        return UsageError(
            f"No architecture of {self.space.name!r} keeps {self.limit}: the cheapest has "
            f"{cheapest}, so raise the limit, or make the space smaller with --space."
        )
