"""Dividing samples into splits: stratified by label, never through a group."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..core.errors import UsageError

Indices = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]
Groups = npt.NDArray[np.str_]


def split_indices(
    labels: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    fractions: Sequence[float] = (0.65, 0.15, 0.2),
    seed: int = 0,
    order: str = "random",
    by_class: bool = True,
) -> tuple[Indices, ...]:
    """Divides samples into parts of the given shares.

    Every part holds about its share of each class. A class with fewer samples than parts is left
    out of some, but never of the first: what is rare is trained on before it is tested. Where
    samples come in groups, whole groups are dealt out, each counted under its most frequent label;
    classes with too few groups for that are dealt out together.

    Args:
        labels: Labels [N].
        groups: Group of each sample [N] (a patient, a speaker), or None.
        fractions: Share of each part; they add up to one.
        seed: Seed of the random order.
        order: "random", or "sorted": later parts are cut from the end of each class, in the order
            of the samples (of the groups' names where there are groups).
        by_class: Whether each class is divided for itself; without it ``order="sorted"`` cuts the
            end of the whole.

    Returns:
        For each part the ascending indices int64 [n] of its samples; disjoint, together 0 .. N-1.

    Raises:
        UsageError: Shares that are no shares, or too few samples or groups for so many parts.
    """
    if not fractions or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(
            f"The shares {tuple(fractions)} of a split must be positive and add up to one."
        )
    _, codes = np.unique(np.asarray(labels), return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    units = np.arange(len(codes))
    if groups is not None:
        units = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    if len(units) != len(codes):
        raise UsageError(f"There are {len(codes)} labels but {len(units)} groups.")
    rng = np.random.default_rng(seed) if order == "random" else None
    rest = np.arange(len(codes))
    parts: list[Indices] = []
    for last in range(len(fractions) - 1, 0, -1):
        share = fractions[last] / sum(fractions[: last + 1])
        taken = _take(codes[rest], units[rest], share, rng, by_class, groups is not None)
        if not taken.any():
            kind = "samples" if groups is None else "groups"
            apart = "" if groups is None else f" in {len(np.unique(units))} groups"
            raise UsageError(
                f"{len(codes)} samples{apart} are too few for "
                f"{len(fractions)} splits: add {kind}, or give the splits."
            )
        parts.append(rest[taken])
        rest = rest[~taken]
    return tuple(reversed([*parts, rest]))


def halve(
    labels: npt.ArrayLike, seed: int, groups: npt.ArrayLike | None = None
) -> tuple[Indices, Indices]:
    """Divides a training split into the halves of a bilevel search.

    Args:
        labels: Labels [N].
        seed: Seed of the division.
        groups: Group of each sample [N], or None.

    Returns:
        Ascending indices int64 of the first and of the second half, stratified and group-wise; the
        first one holds every class.

    Raises:
        UsageError: Too few samples or groups for two halves.
    """
    first, second = split_indices(labels, groups, fractions=(0.5, 0.5), seed=seed)
    return first, second


def _take(
    labels: Labels,
    units: Indices,
    share: float,
    rng: np.random.Generator | None,
    by_class: bool,
    grouped: bool,
) -> npt.NDArray[np.bool_]:
    """Mask [N] of the samples that make up ``share`` of each class."""
    names, units = np.unique(units, return_inverse=True)
    weight = np.bincount(units)
    kind = _majority(labels, units) if by_class else np.zeros(len(names), np.int64)
    if grouped and by_class:
        # A class with so few groups that its share is less than one cannot be divided for itself.
        kinds, number = np.unique(kind, return_counts=True)
        kind[np.isin(kind, kinds[number < np.ceil(1 / share)])] = -1
    taken = np.zeros(len(names), bool)
    owed = 0.0
    for members in _strata(kind):
        line = members[::-1] if rng is None else rng.permutation(members)
        # What rounding took from one class too many or too few is made good in the next.
        owed += share * float(weight[line].sum())
        reached = np.concatenate(([0], np.cumsum(weight[line])))
        number_taken = int(np.abs(reached - owed).argmin())
        number_taken = min(max(number_taken, int(len(line) > 1)), len(line) - 1)
        taken[line[:number_taken]] = True
        limit = float(weight.max()) / 2
        owed = float(np.clip(owed - reached[number_taken], -limit, limit))
    if grouped:
        _give_back(labels, units, taken)
    return taken[units]


def _strata(kind: npt.NDArray[np.int64]) -> Iterator[Indices]:
    """The units of each kind, ascending, without a pass over all units for each kind."""
    order = np.argsort(kind, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(kind[order])) + 1)


def _majority(labels: Labels, units: Indices) -> npt.NDArray[np.int64]:
    """The most frequent label of each unit, the smallest of equals."""
    base = int(labels.max()) + 1
    pairs, number = np.unique(units * base + labels, return_counts=True)
    owner, label = pairs // base, pairs % base
    order = np.lexsort((label, -number, owner))
    _, first = np.unique(owner[order], return_index=True)
    majority: npt.NDArray[np.int64] = label[order][first]
    return majority


def _give_back(labels: Labels, units: Indices, taken: npt.NDArray[np.bool_]) -> None:
    """Leaves a group of each class with the rest, where all groups of a class were taken."""
    left = set(labels[~taken[units]].tolist())
    for label in np.unique(labels):
        if int(label) not in left:
            unit = int(units[labels == label].min())
            taken[unit] = False
            left.update(labels[units == unit].tolist())
