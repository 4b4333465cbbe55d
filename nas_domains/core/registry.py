"""Registries: how a name such as ``darts`` finds the code behind it.

Entries are lazy (``"module:attribute"``), so that listing everything imports no optional package
and lower layers can name what lives above them.
"""

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .errors import UsageError


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        name: What the user types.
        target: ``"module:attribute"`` of the object, imported at first use.
        summary: One line for ``nas-domains list``.
        domain: The domain it belongs to, or "" where it serves all.
        extra: The optional extra of the package that it needs, or "".
        needs: The top-level modules which that extra brings, looked for without importing them.
    """

    name: str
    target: str
    summary: str
    domain: str = ""
    extra: str = ""
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether a module it needs is not installed."""
        return any(importlib.util.find_spec(module) is None for module in self.needs)

    def load(self) -> Any:
        """Imports and returns the object.

        Raises:
            UsageError: The extra it needs is not installed.
        """
        if self.missing:
            raise UsageError(
                f"{self.name!r} needs the [{self.extra}] extra: "
                f"pip install 'nas_domains[{self.extra}]'."
            )
        module, attribute = self.target.split(":")
        return getattr(importlib.import_module(module), attribute)


class Registry:
    """Named entries of one kind ("space", "strategy", "task", ...)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(
        self,
        name: str,
        target: str,
        summary: str,
        *,
        domain: str = "",
        extra: str = "",
        needs: tuple[str, ...] = (),
    ) -> None:
        """Adds an entry; the arguments are those of :class:`Entry`.

        Raises:
            UsageError: The name is taken by another target.
        """
        taken = self._entries.get(name)
        if taken is not None and taken.target != target:
            raise UsageError(
                f"The {self.kind} {name!r} is already registered as {taken.target}: "
                "choose another name."
            )
        self._entries[name] = Entry(name, target, summary, domain, extra, needs)

    def entry(self, name: str) -> Entry:
        """The entry of that name.

        Raises:
            UsageError: No such name; the sentence lists what exists.
        """
        found = self._entries.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self._entries, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            known = ", ".join(sorted(self._entries)) or "none"
            raise UsageError(f"Unknown {self.kind} {name!r}{hint}: known are {known}.")
        return found

    def load(self, name: str) -> Any:
        """The object behind a name; see :meth:`Entry.load` for errors."""
        return self.entry(name).load()

    def get(self, name: str, **arguments: Any) -> Any:
        """Calls what is registered under a name, e.g. ``spaces.get("darts", cells=4)``.

        Raises:
            UsageError: As :meth:`load`, or an argument that it does not take.
        """
        maker = self.load(name)
        known = inspect.signature(maker).parameters
        for argument in arguments:
            if argument not in known:
                raise UsageError(
                    f"The {self.kind} {name!r} does not take {argument!r}: "
                    f"it takes {', '.join(known)}."
                )
        return maker(**arguments)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda e: (e.domain, e.name)))


spaces = Registry("space")
strategies = Registry("strategy")
tasks = Registry("task")
proxies = Registry("proxy")
predictors = Registry("predictor")
actions = Registry("action")
"""What lower layers call by name though it lives above them: "report"."""
baselines = Registry("baseline")
"""Domain -> function from a task to {name: hand-made network}, trained beside the winner."""
