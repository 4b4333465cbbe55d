"""The ``split`` option: which splits are cut from the data, and how."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..core.errors import UsageError
from .splits import Groups, Indices, Labels, split_indices

TEST_SHARE = 0.2
VAL_SHARE = 0.15
_HOW = "write it as 0.2, 'val=0.1,test=0.2' or 'test=0.2,random'"


@dataclass(frozen=True)
class SplitRule:
    """How splits that the data does not bring are cut from its training samples.

    Attributes:
        val: Share of those samples for validation, or None for 0.15.
        test: Share of those samples for the test, or None for 0.2.
        order: "sorted" (the test is the end of the data) or "random", or None for sorted.
    """

    val: float | None = None
    test: float | None = None
    order: str | None = None

    @staticmethod
    def parse(text: object) -> "SplitRule":
        """Reads the option: comma-separated ``val=SHARE``, ``test=SHARE``, ``sorted``, ``random``.

        A bare share is the test's. None and the empty string ask for nothing.

        Raises:
            UsageError: Anything else.
        """
        shares: dict[str, float] = {}
        order: str | None = None
        written = "" if text is None else str(text).strip()
        for part in written.split(",") if written else []:
            word = part.strip().lower()
            if word in ("sorted", "random"):
                if order is not None:
                    raise UsageError(f"split={written!r} names the order twice: {_HOW}.")
                order = word
                continue
            name, found, number = word.rpartition("=")
            name = name.strip() if found else "test"
            if name not in ("val", "test"):
                raise UsageError(
                    f"split={written!r} has an unknown part {part.strip()!r}: {_HOW}."
                )
            if name in shares:
                raise UsageError(f"split={written!r} names {name} twice: {_HOW}.")
            shares[name] = _share(written, name, number.strip())
        rule = SplitRule(shares.get("val"), shares.get("test"), order)
        if rule.val_share + rule.test_share >= 1:
            raise UsageError(
                f"split={written!r} leaves nothing to train on: val and test take "
                f"{rule.val_share:g} and {rule.test_share:g}."
            )
        return rule

    @property
    def val_share(self) -> float:
        """Share of the validation split."""
        return VAL_SHARE if self.val is None else self.val

    @property
    def test_share(self) -> float:
        """Share of the test split."""
        return TEST_SHARE if self.test is None else self.test


def _share(written: str, name: str, number: str) -> float:
    try:
        share = float(number)
    except ValueError:
        raise UsageError(
            f"split={written!r} gives {name} the share {number!r}, which is no number: {_HOW}."
        ) from None
    if not 0 < share < 1:
        raise UsageError(
            f"split={written!r} gives {name} the share {number}, which is not between 0 and 1: "
            f"{_HOW}."
        )
    return share


def complete_splits(
    source: str,
    labels: Labels,
    given: Mapping[str, Indices],
    rule: SplitRule,
    seed: int,
    *,
    groups: Groups | None = None,
    by_class: bool = True,
) -> tuple[dict[str, Indices], tuple[str, ...]]:
    """Cuts the splits that are missing from the training samples.

    Args:
        source: What the data is called in errors.
        labels: Labels int64 [N] of all samples.
        given: Indices of the splits that the data brings; "train" always, "val" and "test" or not.
        rule: How the others are cut.
        seed: Seed of what is cut at random.
        groups: Group of each sample [N], or None.
        by_class: Whether a sorted test is the end of each class or the end of the whole.

    Returns:
        The indices of train, val and test, and sentences for the report.

    Raises:
        UsageError: The rule asks to cut a split that is given, a group lies in two given splits,
            or there are too few samples or groups.
    """
    for name, asked in (("val", rule.val), ("test", rule.test or rule.order)):
        if name in given and asked is not None:
            raise UsageError(
                f"{source!r} brings its own {name} split, which is used as given: leave "
                f"{asked if name == 'test' and rule.test is None else name!r} out of the split "
                "option."
            )
    if groups is not None:
        _check_groups(source, given, groups)
    made = dict(given)
    notes = [f"The {name} split is used as given." for name in ("val", "test") if name in given]
    whole = " group-wise" if groups is not None else ""
    # Of samples of one kind nothing is told apart.
    stratified = ", stratified" if len(np.unique(labels)) > 1 else ""
    left = 1.0
    if "test" not in made:
        order = rule.order or "sorted"
        made["train"], made["test"] = _cut(
            source, labels, groups, made["train"], rule.test_share, seed, order, by_class
        )
        left -= rule.test_share
        where = "the end in sorted order"
        if order == "random":
            where = f"drawn at random{stratified}"
        if order == "sorted" and by_class:
            where = "the end of each class in sorted order"
        notes.append(
            f"The test split is {rule.test_share:.0%} of the samples ({len(made['test'])}), "
            f"{where}{whole}."
        )
    if "val" not in made:
        share = rule.val_share / left
        made["train"], made["val"] = _cut(
            source, labels, groups, made["train"], share, seed, "random", True
        )
        notes.append(
            f"The validation split is {rule.val_share:.0%} of the samples ({len(made['val'])}), "
            f"drawn from training at random{stratified}{whole}, seed {seed}."
        )
    return {name: made[name] for name in ("train", "val", "test")}, tuple(notes)


def _cut(
    source: str,
    labels: Labels,
    groups: Groups | None,
    pool: Indices,
    share: float,
    seed: int,
    order: str,
    by_class: bool,
) -> tuple[Indices, Indices]:
    try:
        kept, cut = split_indices(
            labels[pool],
            None if groups is None else groups[pool],
            fractions=(1 - share, share),
            seed=seed,
            order=order,
            by_class=by_class,
        )
    except UsageError as error:
        raise UsageError(f"{source!r} cannot be divided: {error}") from None
    return pool[kept], pool[cut]


def _check_groups(source: str, given: Mapping[str, Indices], groups: Groups) -> None:
    seen: dict[str, str] = {}
    for name, indices in given.items():
        for group in np.unique(groups[indices]).tolist():
            if group in seen:
                raise UsageError(
                    f"{source!r} has the group {group!r} in both its {seen[group]} and its {name} "
                    "split: keep each group in one."
                )
            seen[group] = name
