"""An architecture: one option for each decision of a search space."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Option = str | int | float


@dataclass(frozen=True)
class Architecture(Mapping[str, Option]):
    """One option for each active choice; frozen, hashable, bound to its space.

    Made by :meth:`SearchSpace.architecture` or :meth:`SearchSpace.sample`, which check it.

    Attributes:
        items_: (choice name, option) in the order of the space's choices; choices that the others
            switch off are absent.
        fingerprint: Fingerprint of the space it belongs to.
    """

    items_: tuple[tuple[str, Option], ...]
    fingerprint: str

    def __getitem__(self, name: str) -> Option:
        for key, option in self.items_:
            if key == name:
                return option
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items_)

    def __len__(self) -> int:
        return len(self.items_)

    def to_json(self) -> str:
        """JSON text ``{"space": fingerprint, "choices": {name: option}}``."""
        return json.dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The content of :meth:`to_json` as a dictionary."""
        return {"space": self.fingerprint, "choices": dict(self.items_)}

    def __str__(self) -> str:
        return ", ".join(f"{name}={option}" for name, option in self.items_)
