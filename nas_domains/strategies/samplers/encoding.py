"""Architectures as points: what a surrogate measures distances between."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ...core.architecture import Architecture
from ...core.space import SearchSpace
from ...nn.cell_numbers import cell_numbers
from ...nn.cell_space import CellSpace

Floats = npt.NDArray[np.float32]

REFERENCE = 500
"""Uniform draws by which features are scaled."""


class Encoder:
    """Two groups of features: paths (White et al. 2021, BANANAS), and numbers.

    Both tell cells by what they compute, so cells that differ only in edges on no path are one
    point. The numbers of a space that is not made of cells are how often each option is taken.
    Each group is scaled so that two uniform draws lie a squared distance of 1/2 apart in the mean.

    Args:
        space: The search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._known: dict[Architecture, tuple[Floats, Floats]] = {}
        self._options = sorted({str(o) for c in space.choices for o in c.options})
        rows = [self._features(a) for a in space.sample(REFERENCE, 0)]
        bits, numbers = (np.stack(group) for group in zip(*rows, strict=True))
        deviation = numbers.std(0)
        self._spread = np.where(deviation > 0, deviation, 1.0)
        self._scales = [
            float(np.sqrt(max(4 * group.var(0).sum(), 1e-12)))
            for group in (bits, numbers / self._spread)
        ]

    def __call__(
        self, architectures: Sequence[Architecture], keep: bool = True
    ) -> list[Floats]:
        """Features [N, D] of each group.

        Args:
            architectures: N of them.
            keep: Whether they are kept for the next time they are asked for.
        """
        rows = []
        for architecture in architectures:
            row = self._known.get(architecture)
            if row is None:
                bits, numbers = self._features(architecture)
                row = (
                    bits / np.float32(self._scales[0]),
                    (numbers / self._spread / self._scales[1]).astype(np.float32),
                )
                if keep:
                    self._known[architecture] = row
            rows.append(row)
        return [np.stack(group) for group in zip(*rows, strict=True)]

    def _features(self, architecture: Architecture) -> tuple[Floats, Floats]:
        bits = np.asarray(self.space.encode(architecture, "path"), dtype=np.float32)
        if isinstance(self.space, CellSpace):
            numbers = cell_numbers(self.space, self.space.genotype(architecture))
        else:
            counts = Counter(map(str, architecture.values()))
            numbers = [float(counts[option]) for option in self._options]
        return bits, np.array(numbers, dtype=np.float32)


class Points:
    """All architectures of a small space as points, those that coincide only once.

    Attributes:
        architectures: All of them, in order.
        point: The point of each architecture [N].
        features: Features [P, D] of each group, those of :class:`Encoder` that are not all zero.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.architectures = list(space)
        self._place = {a: i for i, a in enumerate(self.architectures)}
        groups = encoder(space)(self.architectures)
        kept = [group[:, group.any(0)] for group in groups]
        # Rows as bytes: numpy's unique rows sort all columns.
        joined = np.ascontiguousarray(np.concatenate(kept, axis=1))
        numbers: dict[bytes, int] = {}
        self.point = np.array([numbers.setdefault(r.tobytes(), len(numbers)) for r in joined])
        _, first = np.unique(self.point, return_index=True)
        self.features = [group[first] for group in kept]

    def __call__(self, architectures: Sequence[Architecture]) -> list[Floats]:
        """Features [N, D] of each group."""
        where = self.point[[self._place[a] for a in architectures]]
        return [group[where] for group in self.features]


@lru_cache(maxsize=4)
def encoder(space: SearchSpace) -> Encoder:
    """The encoder of a space, made once: it depends on the space alone."""
    return Encoder(space)


@lru_cache(maxsize=4)
def points(space: SearchSpace) -> Points:
    """The points of a small space, made once."""
    return Points(space)
