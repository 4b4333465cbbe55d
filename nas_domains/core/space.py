"""Search spaces: named decisions, how many there are, how to draw, compare and encode them."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from .architecture import Architecture, Option
from .encoding import chains, encoded
from .errors import UsageError
from .limit import Band, CostTable, Limit, limit_of
from .objective import Objective


@dataclass(frozen=True)
class Choice:
    """One decision.

    Attributes:
        name: Unique within its space.
        options: What it may be, without repetition; strings or numbers.
        parent: Name of an earlier choice on which this one depends, or None.
        when: Options of the parent for which this choice exists; otherwise it is absent.
    """

    name: str
    options: tuple[Option, ...]
    parent: str | None = None
    when: tuple[Option, ...] = ()


class SearchSpace:
    """Named decisions, each with its options.

    A domain subclasses it and says how an architecture becomes a module (:meth:`build`) and, where
    there is one, how all of them share a :class:`Supernet` (:meth:`supernet`). Sizes, draws,
    neighbours, encodings and JSON are the same for all.

    Args:
        name: The name under which it is registered.
        choices: The decisions; a parent stands before its children.
        config: Sizes and other settings, JSON-able; part of the fingerprint.

    Attributes:
        has_supernet: Whether its networks share the weights of a supernet.
        mixes: Whether that supernet can run all candidates at once, weighed by architecture
            parameters; otherwise it runs one architecture at a time.
        strategy: The strategy that was made for such spaces, which "auto" takes; or "".
        by_recipe: Whether the supernet's weights learn by the task's recipe, as its networks do;
            otherwise by the numbers that a strategy was published with, for convolutions.

    Raises:
        UsageError: No choices, a name or option twice, or a parent that does not stand before.
    """

    has_supernet = False
    mixes = False
    strategy = ""
    by_recipe = False

    def __init__(
        self, name: str, choices: Sequence[Choice], config: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self.choices = tuple(choices)
        self.config = dict(config or {})
        self._limits: dict[str, Limit] = {}
        self._check()

    def _check(self) -> None:
        if not self.choices:
            raise UsageError(f"The space {self.name!r} has no choices: give it at least one.")
        seen: dict[str, Choice] = {}
        for choice in self.choices:
            if choice.name in seen:
                raise UsageError(f"The choice {choice.name!r} stands twice: rename one of them.")
            if not choice.options or len(set(choice.options)) != len(choice.options):
                raise UsageError(
                    f"The choice {choice.name!r} needs at least one option and none twice."
                )
            if choice.parent is not None:
                parent = seen.get(choice.parent)
                if parent is None:
                    raise UsageError(
                        f"The choice {choice.name!r} depends on {choice.parent!r}, which must "
                        "stand before it."
                    )
                if not choice.when or not set(choice.when) <= set(parent.options):
                    raise UsageError(
                        f"The choice {choice.name!r} must name options of {choice.parent!r} for "
                        "which it exists."
                    )
            seen[choice.name] = choice

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> nn.Module:
        """The plain network of an architecture, freshly initialised.

        Args:
            architecture: One of this space.
            input_shape: Shape of one input, without the batch.
            outputs: Size of the network's output.
        """
        raise UsageError(f"The space {self.name!r} builds no modules: use one that does.")

    @property
    def task_options(self) -> Mapping[str, Any]:
        """Options that the loader of a task needs to make inputs for these networks."""
        return {}

    def check_task(self, preprocess: Mapping[str, Any]) -> None:
        """Raises a UsageError where a task's inputs mean something else to these networks."""

    def begin_with(self) -> Sequence[Architecture]:
        """What black-box strategies that learn from scores score first; nothing here."""
        return ()

    def references(
        self, winner: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> Mapping[str, Architecture]:
        """Architectures by name that a winner is compared with, trained alike; none here.

        Args:
            winner: The winner.
            input_shape: Shape of one input, without the batch.
            outputs: Size of the network's output.
        """
        return {}

    def slim(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> nn.Module:
        """The plain network at its full depth and, where that is smaller, the supernet's width.

        What a short training of tells whether an architecture can be trained; see :meth:`build`.
        """
        return self.build(architecture, input_shape, outputs)

    def supernet(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The supernet whose shared weights hold every architecture of the space."""
        raise UsageError(
            f"The space {self.name!r} has no supernet: use a strategy that trains single networks."
        )

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell this space, with its sizes, from any other."""
        text = json.dumps(
            [
                self.name,
                self.config,
                [[c.name, c.options, c.parent, c.when] for c in self.choices],
            ],
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _by_name(self) -> dict[str, Choice]:
        return {c.name: c for c in self.choices}

    @cached_property
    def _children(self) -> dict[str | None, list[Choice]]:
        children: dict[str | None, list[Choice]] = {None: []}
        for choice in self.choices:
            children.setdefault(choice.parent, []).append(choice)
        return children

    @cached_property
    def _counts(self) -> dict[str, list[int]]:
        """For each choice, how many ways each option can be completed below it."""
        counts: dict[str, list[int]] = {}
        for choice in reversed(self.choices):
            counts[choice.name] = [
                math.prod(
                    sum(counts[child.name])
                    for child in self._children.get(choice.name, ())
                    if option in child.when
                )
                for option in choice.options
            ]
        return counts

    def size(self) -> int:
        """The exact number of architectures."""
        return math.prod(sum(self._counts[c.name]) for c in self._children[None])

    def architecture(self, choices: Mapping[str, Option]) -> Architecture:
        """Checks a mapping of choice to option and makes an architecture of it.

        Raises:
            UsageError: A choice that is missing, unknown or switched off, or an unknown option.
        """
        items: list[tuple[str, Option]] = []
        for choice in self._active(choices):
            if choice.name not in choices:
                raise UsageError(f"The choice {choice.name!r} of {self.name!r} is missing.")
            option = choices[choice.name]
            if option not in choice.options:
                raise UsageError(
                    f"{option!r} is not an option of {choice.name!r}: it has "
                    f"{', '.join(map(str, choice.options))}."
                )
            # The option as the space writes it: 1.0 == 1, but their JSON differs.
            items.append((choice.name, choice.options[choice.options.index(option)]))
        extra = sorted(set(choices) - {name for name, _ in items})
        if extra:
            raise UsageError(
                f"{extra[0]!r} is not an active choice of {self.name!r} in this architecture: "
                "leave it out."
            )
        return Architecture(tuple(items), self.fingerprint)

    def from_json(self, text: str) -> Architecture:
        """Reads what :meth:`Architecture.to_json` wrote.

        Raises:
            UsageError: Not that form, or an architecture of another space.
        """
        try:
            content = json.loads(text)
            fingerprint, choices = content["space"], dict(content["choices"])
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                'An architecture is JSON of the form {"space": ..., "choices": {...}}.'
            ) from None
        if fingerprint != self.fingerprint:
            raise UsageError(
                f"The architecture belongs to the space {fingerprint}, not to {self.name!r} with "
                f"these sizes ({self.fingerprint}): use the space that it was found in."
            )
        return self.architecture(choices)

    def _active(self, choices: Mapping[str, Option]) -> Iterator[Choice]:
        active: set[str] = set()
        for choice in self.choices:
            if choice.parent is None or (
                choice.parent in active and choices.get(choice.parent) in choice.when
            ):
                active.add(choice.name)
                yield choice

    def complete(
        self, choices: Mapping[str, Option], rng: np.random.Generator | None
    ) -> Architecture:
        """Keeps what is still active, and draws (or takes the first of) what is missing."""
        done: dict[str, Option] = {}
        for choice in self.choices:
            if choice.parent is not None and done.get(choice.parent) not in choice.when:
                continue
            if choice.name in choices:
                done[choice.name] = choices[choice.name]
            elif rng is None:
                done[choice.name] = choice.options[0]
            else:
                done[choice.name] = self._draw(choice, rng)
        return Architecture(tuple(done.items()), self.fingerprint)

    def _draw(self, choice: Choice, rng: np.random.Generator) -> Option:
        """Draws an option in proportion to the architectures that it leaves open: exactly."""
        counts = self._counts[choice.name]
        total = sum(counts)
        draw = int.from_bytes(rng.bytes(16 + total.bit_length() // 8), "little") % total
        for option, count in zip(choice.options, counts, strict=True):
            draw -= count
            if draw < 0:
                return option
        raise AssertionError("unreachable: the draw lies below the sum of the counts")

    def sample(
        self, n: int, seed: int | np.random.Generator = 0, limit: Limit | None = None
    ) -> list[Architecture]:
        """Draws n architectures uniformly, with replacement.

        Args:
            n: How many.
            seed: A seed, or a numpy generator whose state moves on.
            limit: What all must keep, of :meth:`limit`; draws are uniform among those that do.

        Raises:
            UsageError: No architecture keeps the limit.
        """
        rng = np.random.default_rng(seed)
        if limit is not None:
            return limit.sample(n, rng)
        return [self.complete({}, rng) for _ in range(n)]

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """Tables of the costs that choices add up to, e.g. "params" and "macs"; none here.

        Args:
            input_shape: Shape of one input, without the batch.
            outputs: Size of the network's output.
        """
        return {}

    def parameter_free(self, architecture: Architecture) -> float:
        """The share of an architecture without parameters to learn; 0 where that is not known.

        A gradient strategy whose last decode has much of it says that it may have collapsed.

        Args:
            architecture: One of this space.
        """
        return 0.0

    def limit(
        self,
        objectives: Sequence[str | Objective] | Mapping[str, Band],
        input_shape: tuple[int, ...],
        outputs: int,
    ) -> Limit:
        """What :meth:`sample` and :meth:`mutate` keep; see :func:`limit_of`."""
        given = dict(objectives) if isinstance(objectives, Mapping) else list(map(str, objectives))
        key = repr((given, tuple(input_shape), outputs))
        if key not in self._limits:
            self._limits[key] = limit_of(self, objectives, input_shape, outputs)
        return self._limits[key]

    def mutate(
        self,
        architecture: Architecture,
        seed: int | np.random.Generator,
        limit: Limit | None = None,
    ) -> Architecture:
        """Changes one choice with more than one option at random; what it switches on is drawn.

        Args:
            architecture: One of this space.
            seed: A seed, or a numpy generator whose state moves on.
            limit: What the mutant must keep, of :meth:`limit`.

        Raises:
            UsageError: The space has a single architecture, or no mutant keeps the limit.
        """
        rng = np.random.default_rng(seed)
        if limit is not None:
            return limit.mutate(architecture, rng)
        names = [n for n in architecture if len(self._by_name[n].options) > 1]
        if not names:
            raise UsageError(
                f"The space {self.name!r} has a single architecture: nothing to mutate."
            )
        name = names[int(rng.integers(len(names)))]
        others = [o for o in self._by_name[name].options if o != architecture[name]]
        changed = dict(architecture) | {name: others[int(rng.integers(len(others)))]}
        return self.complete(changed, rng)

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """All architectures that differ in one choice; choices it switches on take their first."""
        return [
            self.complete(dict(architecture) | {name: option}, None)
            for name in architecture
            for option in self._by_name[name].options
            if option != architecture[name]
        ]

    def __iter__(self) -> Iterator[Architecture]:
        """All architectures, in order; for small spaces."""

        def extend(done: dict[str, Option], position: int) -> Iterator[Architecture]:
            if position == len(self.choices):
                yield Architecture(tuple(done.items()), self.fingerprint)
                return
            choice = self.choices[position]
            if choice.parent is not None and done.get(choice.parent) not in choice.when:
                yield from extend(done, position + 1)
                return
            for option in choice.options:
                yield from extend(done | {choice.name: option}, position + 1)

        return extend({}, 0)

    def paths(self, architecture: Architecture) -> Iterable[str]:
        """The paths of the path encoding; a cell space gives those from input to output.

        Here: each chain of choices from one without a parent down to one without active children.
        """
        return chains(architecture, {c.name: c.parent for c in self.choices})

    def encode(self, architecture: Architecture, kind: str = "one-hot") -> np.ndarray[Any, Any]:
        """Encodes an architecture for a predictor.

        Args:
            architecture: One of this space.
            kind: "one-hot": one block a choice, all zero where it is switched off; "path": the
                set of paths (White et al. 2021, BANANAS), hashed into ``PATH_BITS`` bits.

        Returns:
            float32 vector of zeros and ones.
        """
        return encoded(self, architecture, kind)
