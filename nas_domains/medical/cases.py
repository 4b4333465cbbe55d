"""How cases are divided into training, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import UsageError
from ..data.decathlon import Case
from ..data.rule import SplitRule, complete_splits


@dataclass(frozen=True)
class Divided:
    """The cases of each split.

    Attributes:
        train: Weights are fitted on them.
        val: They select.
        test: They are scored once.
        notes: Sentences on how they were divided.
    """

    train: tuple[Case, ...]
    val: tuple[Case, ...]
    test: tuple[Case, ...]
    notes: tuple[str, ...]

    @property
    def splits(self) -> dict[str, tuple[Case, ...]]:
        """By name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def divide(
    source: str,
    training: Sequence[Case],
    test: Sequence[Case],
    *,
    rule: SplitRule,
    fold: tuple[int, int] | None,
    labelled: float,
    seed: int,
) -> Divided:
    """Divides cases; the test is as given, or the end in sorted order.

    Where cases say whose they are, all of a patient come into one split.

    Args:
        source: What the data is called in errors.
        training: Labelled cases in sorted order.
        test: Labelled test cases, or none.
        rule: How missing splits are cut.
        fold: (which, of how many) validation folds, from 1; by the rule's share where None. Every
            fold holds other cases, and together they are all that is not tested.
        labelled: Share of the training cases that are kept.
        seed: Seed of what is drawn.

    Raises:
        UsageError: Too few cases or patients, or a fold beside a share of validation.
    """
    if not training:
        raise UsageError(f"{source!r} has no training case that can be used.")
    if fold is not None and rule.val is not None:
        raise UsageError("fold and split's val both say what validates: give one of them.")
    cases = [*training, *test]
    given = {"train": np.arange(len(training))}
    if test:
        given["test"] = np.arange(len(training), len(cases))
    apart = any(case.patient for case in cases)
    # Of one patient each, cases are groups of one.
    whose = np.array([case.patient or case.name for case in cases])
    groups = whose if apart else None
    none = np.zeros(len(cases), np.int64)
    made, notes = complete_splits(source, none, given, rule, seed, groups=groups, by_class=False)
    notes = tuple(note.replace("samples", "cases") for note in notes)
    train, val = made["train"], made["val"]
    rng = np.random.default_rng(seed)
    if fold is not None:
        which, of = fold
        pool = np.sort(np.concatenate([train, val]))
        units = rng.permutation(np.unique(whose[pool]))
        if of > len(units):
            kind = "patients" if apart else "cases"
            raise UsageError(f"fold={which}/{of}: there are only {len(units)} {kind} to divide.")
        chosen = np.isin(whose[pool], units[which - 1 :: of])
        train, val = pool[~chosen], pool[chosen]
        said = f"Validation is fold {which} of {of} ({len(val)} cases), seed {seed}."
        notes = (*notes[:-1], said)
    if labelled < 1:
        units = np.random.default_rng([seed, 1]).permutation(np.unique(whose[train]))
        kept = train[np.isin(whose[train], units[: max(1, round(labelled * len(units)))])]
        said = f"{len(kept)} of {len(train)} training cases are used (labelled={labelled:g})."
        notes, train = (*notes, said), kept
    if apart:
        notes = (*notes, f"The cases are of {len(np.unique(whose))} patients, who stay together.")
    parts = [tuple(cases[i] for i in index) for index in (train, val, made["test"])]
    return Divided(parts[0], parts[1], parts[2], notes)
