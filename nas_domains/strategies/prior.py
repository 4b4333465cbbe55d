"""Warm start: what finished runs found is scored first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.architecture import Architecture
from ..core.errors import UsageError
from ..core.history import SEARCH
from ..core.objective import parse_objectives
from ..core.run import Run
from ..core.space import SearchSpace

BEST = 5
"""Architectures taken of each run."""


def best_of(
    path: str | Path, space: SearchSpace, metrics: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The best distinct architectures of a finished run, best first: its winner, then by its goal.

    Only the architectures are taken: what they scored there is not what they score here, where the
    data, the recipe or the device differ. They are those of another size of the space too, as long
    as its choices are the same.

    Args:
        path: The run directory.
        space: The space of the run to come.
        metrics: Of its task, which say whether larger is better.

    Raises:
        UsageError: No finished run there, or one whose choices are others.
    """
    run = Run.open(path)
    result = run.result
    texts = result["objectives"]
    named = [t.partition("<")[0].partition(">")[0].strip() for t in texts]
    # The other run's task may have had metrics that this one has not.
    (goal, *_) = parse_objectives(texts, dict.fromkeys(named) | dict(metrics))
    records = run.history.of(SEARCH)
    records.sort(key=lambda r: goal.score(r.metrics), reverse=True)
    found: dict[Architecture, dict[str, Any]] = {}
    for choices in (result["best"]["architecture"], *(r.architecture or {} for r in records)):
        try:
            architecture = space.architecture(choices)
        except UsageError as error:
            raise UsageError(
                f"The run {str(path)!r} is no prior of the space {space.name!r}, as its choices "
                f"are others ({str(error).rstrip('.')}): leave this --prior out."
            ) from None
        found.setdefault(architecture, dict(architecture))
    return list(found.values())[:BEST]


def interleave(
    space: SearchSpace, runs: Sequence[Sequence[Mapping[str, Any]]]
) -> list[Architecture]:
    """The architectures of several runs without repetition: the best of each, the second, ..."""
    found: dict[Architecture, None] = {}
    for rank in range(max(map(len, runs), default=0)):
        for run in runs:
            if rank < len(run):
                found[space.architecture(run[rank])] = None
    return list(found)
