"""Black-box strategies: architectures are proposed, each is evaluated on its own."""

import time

import numpy as np

from ..core.architecture import Architecture
from ..core.budget import Budget
from ..core.evaluate import Evaluator, Fidelity, Metrics
from ..core.history import SEARCH, Record
from ..core.limit import Limit
from ..core.seeds import derive
from ..evaluation.context import Context
from ..evaluation.score import costs
from ..evaluation.timing import seconds_per_epoch
from ..evaluation.train import fresh, train
from .base import Plan, Strategy


class TrainEvaluator(Evaluator):
    """Trains the architecture's plain network and scores it on the validation split."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def __call__(self, architecture: Architecture, fidelity: Fidelity, *, trial: int) -> Metrics:
        """See :class:`Evaluator`; the best epoch's metrics on validation, and the costs."""
        context, task = self.context, self.context.task
        stage = f"trial/{trial}"
        fresh(context, stage)
        network = context.space.build(architecture, task.input_shape, task.outputs)
        _, metrics = train(
            network,
            context,
            stage=stage,
            epochs=fidelity.epochs,
            architecture=dict(architecture),
            order=stage,
        )
        (context.checkpoints / f"{stage}.safetensors").unlink(missing_ok=True)
        return metrics | costs(network, task.input_shape)


class RandomSearch(Strategy):
    """Uniform draws under the limits on cost, each trained for a few epochs."""

    def plan(self, context: Context, budget: Budget) -> Plan:
        """Trials for a time, or ``trials=N`` (and ``epochs=N`` a trial); see the base.

        With a time, a trial has up to a third of the recipe's epochs, fewer where less than eight
        trials would fit.
        """
        counts = budget.only(*self.units)
        usual = max(1, context.task.recipe.epochs // 3)
        if budget.seconds is None:
            return {"trials": counts.get("trials", 10), "epochs": counts.get("epochs", usual)}
        epoch, setup = self._seconds(context, budget.seconds)
        epochs = int(min(usual, max(1.0, (budget.seconds / 8 - setup) / epoch)))
        return {"trials": budget.fit(epochs * epoch + setup), "epochs": epochs}

    def _seconds(self, context: Context, budget: float) -> tuple[float, float]:
        """Mean seconds of an epoch and of all else, of four architectures that it would draw."""
        epochs, setups = [], []
        for trial in range(4):
            began = time.perf_counter()
            architecture = draw(context, SEARCH, trial)
            task = context.task
            network = context.space.build(architecture, task.input_shape, task.outputs)
            costs(network.to(context.device), task.input_shape)
            setups.append(time.perf_counter() - began)
            epochs.append(seconds_per_epoch(network, context, 0.01 * budget))
        return float(np.mean(epochs)), float(np.mean(setups))

    def search(self, context: Context, plan: Plan) -> None:
        """See :meth:`Strategy.search`; a trial is a record."""
        evaluator = TrainEvaluator(context)
        fidelity = Fidelity(plan["epochs"])
        with context.reporter.bar(SEARCH, plan["trials"], "trials") as advance:
            for trial in range(plan["trials"]):
                if context.history.find(SEARCH, trial + 1) is None:
                    architecture = draw(context, SEARCH, trial)
                    metrics = evaluator(architecture, fidelity, trial=trial)
                    # Of the epochs' records, so that what was spent before a kill counts.
                    spent = sum(r.seconds for r in context.history.of(f"trial/{trial}"))
                    context.history.add(
                        Record(
                            SEARCH,
                            trial + 1,
                            dict(architecture),
                            fidelity.as_dict(),
                            metrics,
                            spent,
                        )
                    )
                advance(trial + 1)


def draw(context: Context, place: str, number: int) -> Architecture:
    """Draws an architecture uniformly among those whose counted costs keep the limits.

    Latency is not asked here: a measurement would make the draw depend on the moment. It is
    measured after training and counts in the selection.

    Args:
        context: Of the run.
        place: What it is drawn for; with the number and the run's seed it decides the draw.
        number: Number within the place.

    Raises:
        UsageError: No architecture keeps the limits, or none was found.
    """
    rng = np.random.default_rng(derive(context.seed, place, number))
    return context.space.sample(1, rng, counted_limit(context))[0]


def counted_limit(context: Context) -> Limit | None:
    """The limits among the objectives that draws and mutations keep: those on counted costs."""
    limits = [
        o for o in context.objectives if o.limit is not None and o.metric in ("params", "macs")
    ]
    space, task = context.space, context.task
    return space.limit(limits, task.input_shape, task.outputs) if limits else None
