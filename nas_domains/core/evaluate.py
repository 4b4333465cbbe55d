"""Evaluators: what an architecture is worth, at a stated cost."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

from .architecture import Architecture
from .errors import UsageError

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Fidelity:
    """How much is spent on one evaluation.

    Attributes:
        epochs: Passes over the part of the training data that is used; 0 where a time says how
            many.
        data: The share of the training samples that is used, above 0.
        resolution: The share of each side of images and volumes, in training and scoring, above 0.
        seconds: The time of a training, of which its own speed makes epochs; 0 where these alone
            are told.

    Raises:
        UsageError: A share that is not above 0 and at most 1.
    """

    epochs: int
    data: float = 1.0
    resolution: float = 1.0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in ("data", "resolution"):
            share = getattr(self, name)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
                raise UsageError(
                    f"The fidelity's {name}={share} is not a share: give more than 0, at most 1."
                )

    def as_dict(self) -> dict[str, Any]:
        """The epochs, the shares that are not whole, and a time that was told, JSON-able."""
        usual = asdict(Fidelity(0))
        return {k: v for k, v in asdict(self).items() if k == "epochs" or v != usual[k]}


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
