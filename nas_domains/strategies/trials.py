"""One trial of a black-box strategy: an architecture trained for some epochs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ..core.architecture import Architecture
from ..core.evaluate import Evaluator, Fidelity, Metrics
from ..core.history import SEARCH, Record
from ..core.objective import COST_METRICS
from ..evaluation.context import Context
from ..evaluation.fidelity import reduced
from ..evaluation.score import costs
from ..evaluation.timing import epoch_time
from ..evaluation.train import DivergedError, fresh, train
from ..hardware.meters import measured

TIMING = 0.04
"""The share of a trial's time in which it is found how many epochs that is."""

Stop = Callable[[Sequence[Record]], bool]
"""Asked with the records of a trial's epochs so far: whether it ends here."""


def never(records: Sequence[Record]) -> bool:
    """No trial ends before its last epoch."""
    return False


def stage_of(trial: int) -> str:
    """The stage of the history that holds the epochs of a trial."""
    return f"trial/{trial}"


def epochs_file(checkpoints: Path, trial: int) -> Path:
    """Where a worker keeps the epochs of its trial."""
    path = checkpoints / f"{stage_of(trial)}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class TrainEvaluator(Evaluator):
    """Trains the architecture's plain network and scores it on the validation split.

    What it costs is found first, and a network that breaks a limit on costs is not trained.

    Args:
        context: Of the run.
        told: Rows of "architecture" and "fidelity" of another run: where trials have a time, one
            of an architecture there has as many epochs as it had there. Those of all others are
            found by their own speed.
    """

    def __init__(self, context: Context, told: Sequence[Mapping[str, Any]] = ()) -> None:
        self.context = context
        self.told = [(row["architecture"], row["fidelity"]) for row in told]

    def __call__(
        self,
        architecture: Architecture,
        fidelity: Fidelity,
        *,
        trial: int,
        stop: Stop = never,
    ) -> Metrics:
        """See :class:`Evaluator`.

        Args:
            architecture: What to score.
            fidelity: How long it is trained (and over how many epochs the learning rate falls),
                and on which share of the data and of the resolution.
            trial: Number of the trial.
            stop: Asked after each epoch.

        Returns:
            The best epoch's metrics on validation, and the costs; the metrics are None where the
            costs break a limit, or the loss was not finite in the first epoch.
        """
        context, task = self.context, self.context.task
        stage = stage_of(trial)
        fresh(context, stage)
        network = context.space.build(architecture, task.input_shape, task.outputs)
        known = self._costs(architecture, network.to(context.device), fidelity, trial)
        found = dict(known.metrics)
        unknown: Metrics = dict.fromkeys(("loss", *task.metrics))
        if not self._keeps_limits(found):
            return unknown | found
        # The whole network said what it costs. At a lower resolution another one is trained; and
        # where one was timed, its start is to be that of a trial that goes on after a kill.
        cheap = reduced(context, fidelity)
        if fidelity.seconds or cheap.task.input_shape != task.input_shape:
            fresh(context, stage)
            network = context.space.build(architecture, cheap.task.input_shape, task.outputs)
        try:
            _, metrics = train(
                network,
                cheap,
                stage=stage,
                epochs=known.fidelity.get("epochs", fidelity.epochs),
                architecture=dict(architecture),
                order=stage,
                stop=lambda: stop(context.history.of(stage)),
            )
        except DivergedError:
            return unknown | found
        return metrics | found

    def _costs(
        self, architecture: Architecture, network: nn.Module, fidelity: Fidelity, trial: int
    ) -> Record:
        """What it costs, and how many epochs a time has, where that is told.

        Measured once: a trial that goes on after a kill reads its record.
        """
        began, stage = time.perf_counter(), f"{stage_of(trial)}/costs"
        known = self.context.history.find(stage, 0)
        if known is None:
            metrics = costs(network, self.context.task)
            metrics |= measured(network, self.context.task, self.context.objectives)
            length = {}
            if fidelity.seconds and self._keeps_limits(metrics):
                length["epochs"] = self._epochs(architecture, fidelity)
            spent = time.perf_counter() - began
            known = self.context.history.add(
                Record(stage, 0, dict(architecture), length, metrics, spent)
            )
        return known

    def _epochs(self, architecture: Architecture, fidelity: Fidelity) -> int:
        """Whole epochs that come nearest to the time; one at least."""
        spent = fidelity.as_dict()
        for known, seen in self.told:
            if known == dict(architecture) and {**seen, "epochs": 0} == spent:
                epochs: int = seen["epochs"]
                return epochs
        cheap = reduced(self.context, fidelity)
        task = cheap.task
        network = self.context.space.build(architecture, task.input_shape, task.outputs)
        found = epoch_time(network, cheap, TIMING * fidelity.seconds)
        return max(1, round(fidelity.seconds / max(found.seconds, 1e-9)))

    def _keeps_limits(self, metrics: Metrics) -> bool:
        """Whether costs keep the limits on them."""
        return all(o.allows(metrics) for o in self.context.objectives if o.metric in COST_METRICS)

    def record(
        self, architecture: Architecture, fidelity: Fidelity, metrics: Metrics, *, trial: int
    ) -> Record:
        """The record of a trial that has ended: with the epochs that it was trained.

        Its detail says "stopped" where these are fewer than were meant, "diverged" where there is
        none, and "refused" where it was not trained as its costs break a limit.
        """
        history, stage = self.context.history, stage_of(trial)
        epochs, (known,) = history.of(stage), history.of(f"{stage}/costs")
        # Of all records, so that what was spent before a kill counts.
        spent = sum(r.seconds for r in [*epochs, known])
        detail = {}
        if not self._keeps_limits(metrics):
            detail["refused"] = True
        elif not epochs:
            detail["diverged"] = True
        elif len(epochs) < known.fidelity.get("epochs", fidelity.epochs):
            detail["stopped"] = True
        seen = replace(fidelity, epochs=len(epochs)).as_dict()
        return Record(SEARCH, trial + 1, dict(architecture), seen, metrics, spent, detail)

    def clear(self, trial: int) -> None:
        """Removes what a trial needed to go on."""
        path = self.context.checkpoints / f"{stage_of(trial)}.safetensors"
        path.unlink(missing_ok=True)
