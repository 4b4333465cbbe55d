"""One trial of a black-box strategy: an architecture trained for some epochs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from ..core.architecture import Architecture
from ..core.evaluate import Evaluator, Fidelity, Metrics
from ..core.history import SEARCH, Record
from ..core.objective import COST_METRICS
from ..evaluation.context import Context
from ..evaluation.fidelity import reduced
from ..evaluation.score import costs
from ..evaluation.train import fresh, train
from ..hardware.meters import measured

Stop = Callable[[Sequence[Record]], bool]
"""Asked with the records of a trial's epochs so far: whether it ends here."""


def never(records: Sequence[Record]) -> bool:
    """No trial ends before its last epoch."""
    return False


def stage_of(trial: int) -> str:
    """The stage of the history that holds the epochs of a trial."""
    return f"trial/{trial}"


class TrainEvaluator(Evaluator):
    """Trains the architecture's plain network and scores it on the validation split.

    What it costs is found first, and a network that breaks a limit on costs is not trained.
    """

    def __init__(self, context: Context) -> None:
        self.context = context

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
            fidelity: How long it is trained, over how many epochs the learning rate falls, and on
                which share of the data and of the resolution.
            trial: Number of the trial.
            stop: Asked after each epoch.

        Returns:
            The best epoch's metrics on validation, and the costs; the metrics are None where the
            costs break a limit.
        """
        context, task = self.context, self.context.task
        stage = stage_of(trial)
        fresh(context, stage)
        network = context.space.build(architecture, task.input_shape, task.outputs)
        found = self._costs(architecture, network.to(context.device), stage)
        if not all(o.allows(found) for o in context.objectives if o.metric in COST_METRICS):
            return {name: None for name in ("loss", *task.metrics)} | found
        # The whole network said what it costs; at a lower resolution another one is trained.
        cheap = reduced(context, fidelity)
        if cheap.task.input_shape != task.input_shape:
            fresh(context, stage)
            network = context.space.build(architecture, cheap.task.input_shape, task.outputs)
        _, metrics = train(
            network,
            cheap,
            stage=stage,
            epochs=fidelity.epochs,
            architecture=dict(architecture),
            order=stage,
            stop=lambda: stop(context.history.of(stage)),
        )
        return metrics | found

    def _costs(self, architecture: Architecture, network: nn.Module, stage: str) -> Metrics:
        """What it costs, measured once: a trial that goes on after a kill reads its record."""
        began = time.perf_counter()
        known = self.context.history.find(f"{stage}/costs", 0)
        if known is None:
            metrics = costs(network, self.context.task)
            metrics |= measured(network, self.context.task, self.context.objectives)
            spent = time.perf_counter() - began
            known = self.context.history.add(
                Record(f"{stage}/costs", 0, dict(architecture), {}, metrics, spent)
            )
        return dict(known.metrics)

    def record(
        self, architecture: Architecture, fidelity: Fidelity, metrics: Metrics, *, trial: int
    ) -> Record:
        """The record of a trial that has ended: with the epochs that it was trained.

        Its detail says "stopped" where these are fewer than were meant, and "refused" where it was
        not trained as its costs break a limit.
        """
        history, stage = self.context.history, stage_of(trial)
        epochs = history.of(stage)
        # Of all records, so that what was spent before a kill counts.
        spent = sum(r.seconds for r in [*epochs, *history.of(f"{stage}/costs")])
        detail = {}
        if len(epochs) < fidelity.epochs:
            detail["stopped" if epochs else "refused"] = True
        seen = replace(fidelity, epochs=len(epochs)).as_dict()
        return Record(SEARCH, trial + 1, dict(architecture), seen, metrics, spent, detail)

    def clear(self, trial: int) -> None:
        """Removes what a trial needed to go on."""
        path = self.context.checkpoints / f"{stage_of(trial)}.safetensors"
        path.unlink(missing_ok=True)
