"""Black-box strategies: architectures are proposed, each is evaluated on its own."""

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import optuna
import torch

from ..core.architecture import Architecture
from ..core.budget import Budget
from ..core.errors import UsageError
from ..core.evaluate import Fidelity
from ..core.history import SEARCH, Record
from ..core.limit import Limit
from ..core.objective import COST_METRICS, Objective
from ..core.seeds import derive
from ..core.space import SearchSpace
from ..evaluation.context import Context
from ..evaluation.fidelity import reduced
from ..evaluation.score import costs
from ..evaluation.timing import EpochTime, epoch_time
from .base import Plan, Strategy
from .foreseen import foreseen_limit
from .pruner import EpochPruner
from .study import Proposal, RunStudy, forget, quiet_optuna, storage_url
from .trials import TIMING, TrainEvaluator
from .workers import Job, search_with_workers, threads_each

TRIALS = 16
"""Trials that a time holds at least, though each then trains for fewer epochs."""
REFUSED = 20
"""Networks for each trial that may break a measured limit before the search ends."""


class MakeSampler(Protocol):
    """Makes the sampler of a search, e.g. the class of one."""

    def __call__(
        self, space: SearchSpace, *, seed: int, limit: Limit | None
    ) -> optuna.samplers.BaseSampler: ...


class BlackBox(Strategy):
    """A sampler proposes architectures, each of which is trained for a few epochs.

    Args:
        name: Registered name.
        sampler: Makes the sampler; its proposals keep the limit that it is given.
        goals: How many objectives without limits it can weigh.
        pruner: Makes what stops trials early, from the epochs of a whole one.
        foresees: Whether proposals keep limits on measured costs too as far as these are
            foreseen; see :mod:`~nas_domains.strategies.foreseen`.
        learns: Whether proposals depend on scores: what
            :meth:`~nas_domains.core.space.SearchSpace.begin_with` names is then scored first.
    """

    def __init__(
        self,
        name: str,
        sampler: MakeSampler,
        *,
        goals: int = 99,
        pruner: type[EpochPruner] | None = None,
        foresees: bool = True,
        learns: bool = True,
    ) -> None:
        super().__init__(name)
        self.sampler, self.goals, self.pruner = sampler, goals, pruner
        self.foresees, self.learns = foresees, learns

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """See :meth:`Strategy.check`; what stops trials must be known after each epoch."""
        super().check(space, objectives)
        if self.pruner and objectives[0].metric in COST_METRICS:
            raise UsageError(
                f"The strategy {self.name!r} cannot make {objectives[0].metric!r} its goal: name "
                "a metric of the task, or use --strategy nsga2."
            )

    def plan(self, context: Context, budget: Budget) -> Plan:
        """Trials for a time, or ``trials=N`` (and ``epochs=N`` a trial); see the base.

        With a time, a trial has up to a third of the recipe's epochs, fewer where less than
        :data:`TRIALS` would fit; where trials are stopped early, that is what the longest have.
        Where full trainings have all the same time, so have trials that nothing stops early,
        that of a network of mean speed: by the same epochs a slow one would be overrated.
        """
        counts = budget.only(*self.units)
        usual = max(1, context.task.recipe.epochs // 3)
        if budget.seconds is None:
            return {"trials": counts.get("trials", 10), "epochs": counts.get("epochs", usual)}
        times, setup = self._seconds(context, budget.seconds)
        epoch = float(np.mean([t.seconds for t in times]))
        share = budget.seconds / TRIALS - setup
        if context.timed and self.pruner is None:
            scoring = float(np.mean([t.scoring for t in times]))
            seconds = min(usual * epoch, max(epoch, (share - scoring) / (1 + TIMING)))
            seconds = float(f"{seconds:.3g}")
            # An epoch at least, and what it takes to time one.
            each = setup + float(
                np.mean([max(seconds, t.seconds) + t.looked(TIMING * seconds) for t in times])
            )
            each /= at_once(context)
            return {"trials": budget.fit(each), "seconds": seconds}
        epochs = int(min(usual, max(1.0, share / epoch)))
        spent = self.pruner(epochs).mean_cost() if self.pruner else float(epochs)
        each = (spent * epoch + setup) / at_once(context)
        return {"trials": budget.fit(each), "epochs": epochs}

    def _seconds(self, context: Context, budget: float) -> tuple[list[EpochTime], float]:
        """Times of four random architectures in one worker, and mean seconds of all else."""
        times, setups = [], []
        cheap = reduced(context, Fidelity(1, **context.shares))
        threads = torch.get_num_threads()
        torch.set_num_threads(threads_each(context))
        try:
            for trial in range(4):
                began = time.perf_counter()
                architecture = draw(context, SEARCH, trial)
                task = context.task
                network = context.space.build(architecture, task.input_shape, task.outputs)
                costs(network.to(context.device), task)
                setups.append(time.perf_counter() - began)
                if cheap is not context:
                    shape = cheap.task.input_shape
                    network = context.space.build(architecture, shape, task.outputs)
                times.append(epoch_time(network, cheap, 0.01 * budget))
        finally:
            torch.set_num_threads(threads)
        return times, float(np.mean(setups))

    def search(self, context: Context, plan: Plan) -> None:
        """See :meth:`Strategy.search`; a trial is a record."""
        limit = counted_limit(context)
        if self.foresees:
            limit = foreseen_limit(context, limit)
        sampler = self.make_sampler(context, limit)
        seed = derive(context.seed, SEARCH, "hyperband")
        pruner = self.pruner(plan["epochs"], seed=seed) if self.pruner else None
        total: int = plan["trials"]
        told = plan.get("each", ())
        evaluator = TrainEvaluator(context, told)
        fidelity = Fidelity(
            plan.get("epochs", 0), seconds=plan.get("seconds", 0.0), **context.shares
        )
        with quiet_optuna(), context.reporter.bar(SEARCH, total, "trials") as advance:
            study = RunStudy(context, sampler, limit, pruner)

            def wanted() -> bool:
                return study.done < total and study.refused < REFUSED * total

            try:
                if context.workers > 1:
                    job = Job.of(context, fidelity, told)
                    search_with_workers(study, job, total, wanted, advance)
                else:
                    while wanted() and (proposal := study.next()) is not None:
                        study.tell(proposal, self._record(study, evaluator, proposal, fidelity))
                        advance(study.done)
            finally:
                study.close()
        if study.done < total:
            context.reporter.say(ended_early(study, total))

    def make_sampler(self, context: Context, limit: Limit | None) -> optuna.samplers.BaseSampler:
        """The sampler of a run, whose proposals keep the limit."""
        seed = derive(context.seed, SEARCH, "sampler")
        return self.sampler(context.space, seed=seed, limit=limit)

    def _record(
        self,
        study: RunStudy,
        evaluator: TrainEvaluator,
        proposal: Proposal,
        fidelity: Fidelity,
    ) -> Record:
        """The record of a proposal: the one that is there, or what its trial ends in."""
        history, step = evaluator.context.history, proposal.step
        known = history.find(SEARCH, step)
        if known is not None:
            return known
        trial = step - 1
        metrics = evaluator(
            proposal.architecture,
            fidelity,
            trial=trial,
            stop=lambda records: study.report(proposal, records),
        )
        record = evaluator.record(proposal.architecture, fidelity, metrics, trial=trial)
        known = history.add(record)
        evaluator.clear(trial)
        return known

    def choose(self, context: Context, records: Sequence[Record]) -> Record:
        """See :meth:`Strategy.choose`; of those that were not stopped early, where one wins."""
        whole = [r for r in records if not {"stopped", "diverged"} & set(r.detail)]
        fit = any(all(o.allows(r.metrics) for o in context.objectives) for r in whole)
        return super().choose(context, whole if fit else records)

    def restart(self, context: Context) -> None:
        """See :meth:`Strategy.restart`."""
        forget(storage_url(context), context.history.path.parent)
        for path in (context.checkpoints / "trial").glob("*.jsonl"):
            path.unlink()


def at_once(context: Context) -> int:
    """Trials that run side by side without slowing each other: those that share a GPU do not."""
    return context.workers if context.device.type == "cpu" else 1


def ended_early(study: RunStudy, total: int) -> str:
    """Why a search has fewer trials than it was to have."""
    if study.refused >= REFUSED * total:
        why = f"{study.refused} networks in all were measured to break a limit"
    elif study.limit is None:
        why = "every architecture of the space that was found has been scored"
    else:
        why = f"every architecture found that keeps {study.limit} has been scored"
    return f"The search ends after {study.done} of {total} trials: {why}."


def draw(context: Context, place: str, number: int) -> Architecture:
    """Draws an architecture uniformly among those whose counted costs keep the limits.

    Latency is not asked here: a measurement would make the draw depend on the moment. It is
    measured before training, and a network that breaks its limit is not trained.

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
