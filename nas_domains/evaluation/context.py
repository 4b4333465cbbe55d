"""What all stages of a run share: data, device, seed, record and progress."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from ..core.architecture import Architecture
from ..core.errors import UsageError
from ..core.history import History
from ..core.objective import Objective
from ..core.progress import Reporter
from ..core.space import SearchSpace
from ..core.task import IGNORED, Task

PRECISIONS = {"float32": "no", "bfloat16": "bf16"}
"""Name -> what accelerate calls it."""


@dataclass
class Context:
    """What all stages of a run share.

    Attributes:
        space: The search space.
        task: The task.
        objectives: Goals first, then limits; the first selects.
        seed: The run's seed.
        accelerator: Device and mixed precision.
        history: The record.
        checkpoints: Folder of the checkpoints.
        reporter: Shows progress.
        batch_size: Samples a step; the recipe's, unless memory was short.
        randoms: Random architectures that are fully trained beside the winner; those of
            ``draw(context, "random", i)``.
        storage: Optuna's storage of a black-box search, as a URL; "study.db" beside the record
            where empty.
        workers: Processes that evaluate architectures for a black-box search.
        priors: Architectures that a black-box search scores first.
        shares: The "data" and "resolution" of a black-box search's trials; whole where absent.
        timed: Whether full trainings are compared after the same time, not the same epochs.
        teacher: A network of the task that all others learn from, on the device, or None.
    """

    space: SearchSpace
    task: Task
    objectives: list[Objective]
    seed: int
    accelerator: Accelerator
    history: History
    checkpoints: Path
    reporter: Reporter
    batch_size: int = field(default=0)
    randoms: int = 0
    storage: str = ""
    workers: int = 1
    priors: Sequence[Architecture] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    timed: bool = False
    teacher: nn.Module | None = None

    def __post_init__(self) -> None:
        self.batch_size = self.batch_size or self.task.recipe.batch_size

    @property
    def device(self) -> torch.device:
        """Where networks run."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def goals(self) -> list[Objective]:
        """The objectives that are weighed: those without limits, or else the first."""
        return [o for i, o in enumerate(self.objectives) if i == 0 or o.limit is None]

    def allows(self, metrics: Mapping[str, float | None]) -> bool:
        """Whether metrics keep all limits."""
        return all(o.allows(metrics) for o in self.objectives)

    @property
    def goal(self) -> Objective:
        """The first objective, which selects."""
        return self.objectives[0]

    def to_device(self, x: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        """Moves a batch to the device.

        Raises:
            UsageError: The inputs are not finite, or a class is out of range.
        """
        x, y = torch.as_tensor(x), torch.as_tensor(y)
        if not torch.isfinite(x).all():
            raise UsageError(
                f"A batch of {self.task.name!r} holds NaN or infinite inputs: clean the data "
                "first."
            )
        if self.task.loss is nn.functional.cross_entropy and not y.is_floating_point():
            named = y[y != IGNORED] if y.dim() > 1 else y
            low, high = (int(named.min()), int(named.max())) if len(named) else (0, 0)
            if low < 0 or high >= self.task.outputs:
                raise UsageError(
                    f"A batch of {self.task.name!r} holds the label {low if low < 0 else high}, "
                    f"but its classes are 0 to {self.task.outputs - 1}: mend the labels, or name "
                    "outputs=."
                )
        return x.to(self.device), y.to(self.device)

    def score(self, metrics: Any) -> tuple[float, float]:
        """What selects between epochs of one network: the goal, then the loss; more is better."""
        known = (*self.task.metrics, "loss")
        goal = self.goal.score(metrics) if self.goal.metric in known else -math.inf
        loss = metrics.get("loss")
        return goal, -math.inf if loss is None else -loss


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Device and precision of a run.

    Args:
        device: "cpu" or "cuda".
        precision: "float32" or "bfloat16".
    """
    # One process may hold several runs of different precision, one after the other.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=device == "cpu", mixed_precision=PRECISIONS[precision])


def resolve_device(device: str) -> str:
    """The device for "auto", "cpu" or "cuda".

    Raises:
        UsageError: Another word, or no CUDA device where one is asked for.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"Unknown device {device!r}: known are auto, cpu, cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("No CUDA device is available here: use --device cpu or auto.")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def resolve_precision(precision: str, device: str) -> str:
    """The precision for "auto", "float32" or "bfloat16": auto is bfloat16 where CUDA has it.

    Raises:
        UsageError: Another word.
    """
    if precision == "auto":
        return "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    if precision not in PRECISIONS:
        raise UsageError(
            f"Unknown precision {precision!r}: known are auto, {', '.join(PRECISIONS)}."
        )
    return precision


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("can't allocate memory", "_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)
