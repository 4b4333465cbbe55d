"""Architectures as vectors, for predictors."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .architecture import Architecture
from .errors import UsageError

if TYPE_CHECKING:
    from .space import SearchSpace

PATH_BITS = 512
"""Length of the path encoding: paths are hashed into it."""


def chains(architecture: Architecture, parents: Mapping[str, str | None]) -> list[str]:
    """Each chain of choices from one without a parent down to one without active children.

    Args:
        architecture: Its choices and options; a parent stands before its children.
        parents: Choice -> its parent.
    """
    found = {name: f"{name}={option}" for name, option in architecture.items()}
    leaves = set(found)
    for name in architecture:
        parent = parents[name]
        if parent is not None:
            found[name] = f"{found[parent]}/{found[name]}"
            leaves.discard(parent)
    return [found[name] for name in architecture if name in leaves]


def encoded(space: "SearchSpace", architecture: Architecture, kind: str) -> np.ndarray[Any, Any]:
    """See :meth:`nas_domains.core.space.SearchSpace.encode`.

    Raises:
        UsageError: A kind that is not known.
    """
    if kind == "one-hot":
        return np.array(
            [
                float(c.name in architecture and architecture[c.name] == option)
                for c in space.choices
                for option in c.options
            ],
            dtype=np.float32,
        )
    if kind == "path":
        bits = np.zeros(PATH_BITS, dtype=np.float32)
        for path in space.paths(architecture):
            digest = hashlib.blake2b(path.encode(), digest_size=8).digest()
            bits[int.from_bytes(digest, "little") % PATH_BITS] = 1.0
        return bits
    raise UsageError(f"Unknown encoding {kind!r}: known are one-hot, path.")
