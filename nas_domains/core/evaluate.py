"""Evaluators: what an architecture is worth, at a stated cost."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

from .architecture import Architecture

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Fidelity:
    """How much is spent on one evaluation.

    Attributes:
        epochs: Passes over the training data.
    """

    epochs: int

    def as_dict(self) -> dict[str, Any]:
        """The fields, JSON-able."""
        return asdict(self)


class Evaluator(ABC):
    """(architecture, fidelity) -> metrics.

    A black-box strategy calls it once a trial; what it returns goes into the history.
    """

    @abstractmethod
    def __call__(self, architecture: Architecture, fidelity: Fidelity, *, trial: int) -> Metrics:
        """Scores an architecture on the validation split.

        Args:
            architecture: What to score.
            fidelity: How much to spend.
            trial: Number of the trial: randomness depends on the run's seed and this alone.

        Returns:
            The task's metrics and ``params``, ``macs``, ``latency_ms``.
        """
