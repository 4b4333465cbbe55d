"""Evolution over the paths of a trained supernet, for one goal or several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.architecture import Architecture, Option
from ..core.errors import UsageError
from ..core.history import SEARCH, Record
from ..core.limit import Limit
from ..core.objective import pareto
from ..core.seeds import derive
from ..evaluation.context import Context
from .blackbox import counted_limit

TRIES = 10
"""Draws for each architecture that is wanted, before one that was scored already is taken."""


@dataclass(frozen=True)
class Evolution:
    """The evolution of Guo et al. 2020 (SPOS, algorithm 1); the defaults are theirs.

    The first population is drawn at random. Each later one comes from the best of all that were
    scored: a share by mutation, the rest by crossover.

    Attributes:
        population: Architectures a generation.
        parents: How many of the best have children.
        mutated: Share of a generation that are mutants.
        mutation: Probability with which a mutant changes a choice; at least one changes.
    """

    population: int = 50
    parents: int = 10
    mutated: float = 0.5
    mutation: float = 0.1

    def propose(self, context: Context, scored: Sequence[Record]) -> list[Architecture]:
        """The next generation, which depends on the seed, its place and what was scored.

        Architectures keep the limits on counted costs, and are new as long as new ones are found.

        Args:
            context: Of the run.
            scored: The records so far: none, or whole generations.

        Raises:
            UsageError: No architecture keeps the limits.
        """
        space, limit = context.space, counted_limit(context)
        rng = np.random.default_rng(derive(context.seed, SEARCH, "generation", len(scored)))
        seen = {_architecture(context, record) for record in scored}
        found: list[Architecture] = []

        def add(number: int, make: Callable[[], Architecture]) -> None:
            wanted = min(self.population, len(found) + number)
            for _ in range(TRIES * number):
                if len(found) >= wanted:
                    return
                architecture = make()
                if architecture not in seen:
                    seen.add(architecture)
                    found.append(architecture)

        if scored:
            parents = [
                _architecture(context, r) for r in best(context, scored, max(1, self.parents))
            ]

            def parent() -> Architecture:
                return parents[int(rng.integers(len(parents)))]

            mutants = round(self.mutated * self.population)
            add(mutants, lambda: self._mutant(context, parent(), rng, limit))
            add(
                self.population - mutants,
                lambda: self._child(context, parent(), parent(), rng, limit),
            )
        # Random ones fill what mutation and crossover could not, as in the authors' code.
        add(self.population - len(found), lambda: space.sample(1, rng, limit)[0])
        return found + space.sample(self.population - len(found), rng, limit)

    def _mutant(
        self,
        context: Context,
        architecture: Architecture,
        rng: np.random.Generator,
        limit: Limit | None,
    ) -> Architecture:
        try:
            for _ in range(max(1, int(rng.binomial(len(architecture), self.mutation)))):
                architecture = context.space.mutate(architecture, rng, limit)
        except UsageError:
            # No neighbour keeps the limit: draw another.
            return context.space.sample(1, rng, limit)[0]
        return architecture

    def _child(
        self,
        context: Context,
        one: Architecture,
        other: Architecture,
        rng: np.random.Generator,
        limit: Limit | None,
    ) -> Architecture:
        """Each choice from one parent or the other; a mutant of one where no such keeps limits."""
        for _ in range(TRIES):
            choices: dict[str, Option] = {}
            for choice in context.space.choices:
                having = [p for p in (one, other) if choice.name in p]
                if having:
                    choices[choice.name] = having[int(rng.integers(len(having)))][choice.name]
            child = context.space.complete(choices, rng)
            if limit is None or limit.allows(child):
                return child
        return self._mutant(context, one, rng, limit)


def best(context: Context, records: Sequence[Record], number: int) -> list[Record]:
    """The best distinct architectures: those that keep all limits first.

    By the goal where there is one; by fronts that no later one dominates, and in the last of them
    by crowding, where there are several (NSGA-II, Deb et al. 2002).

    Args:
        context: Of the run; its objectives decide.
        records: At least one.
        number: How many at most.
    """
    distinct = list({_architecture(context, r): r for r in records}.values())
    goals = [o for i, o in enumerate(context.objectives) if i == 0 or o.limit is None]
    groups: dict[bool, list[Record]] = {True: [], False: []}
    for record in distinct:
        groups[all(o.allows(record.metrics) for o in context.objectives)].append(record)
    found: list[Record] = []
    for group in groups.values():
        group.sort(
            key=lambda r: (goals[0].score(r.metrics), context.score(r.metrics), r.step),
            reverse=True,
        )
        if len(goals) == 1:
            found += group
            continue
        while group and len(found) < number:
            points = [[goal.score(r.metrics) for goal in goals] for r in group]
            front = pareto(points)
            distances = _crowding([points[i] for i in front])
            # sorted is stable: of equally crowded ones the better by the first goal stays first.
            order = sorted(range(len(front)), key=lambda i: -distances[i])
            found += [group[front[i]] for i in order]
            group = [r for i, r in enumerate(group) if i not in set(front)]
    return found[:number]


def _crowding(points: Sequence[Sequence[float]]) -> list[float]:
    """How far the neighbours of each point of a front lie apart; infinite at its ends."""
    values = np.asarray(points, dtype=float)
    distances = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distances[order[[0, -1]]] = np.inf
        # A goal without a value is minus infinity, and its span is no number.
        if len(values) > 2 and 0 < span < np.inf:
            distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return [float(d) for d in distances]


def _architecture(context: Context, record: Record) -> Architecture:
    assert record.architecture is not None
    return context.space.architecture(record.architecture)
