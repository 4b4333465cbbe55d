"""Search without training: proxies stand in for the task's metric."""

import math
import time
from collections.abc import Sequence

import numpy as np

from ..core.architecture import Architecture
from ..core.budget import Budget
from ..core.errors import UsageError
from ..core.history import SEARCH, Record
from ..core.objective import COST_METRICS, Objective
from ..core.seeds import derive
from ..core.space import SearchSpace
from ..evaluation.context import Context
from ..evaluation.proxies.evaluator import ProxyEvaluator
from ..evaluation.proxies.features import UNTRAINED
from ..evaluation.proxies.joint import TRUSTED, joint_ranks, size_bias
from ..evaluation.score import costs
from ..hardware.meters import measured
from .base import Plan, Strategy
from .blackbox import REFUSED, counted_limit, draw
from .samplers.base import Observation, SpaceSampler

SHOWN = 5
"""Architectures whose ranks are printed at the end, beside their sizes."""


class ZeroCost(Strategy):
    """A sampler proposes architectures, which proxies score on one batch; nothing is trained.

    What is best is best by the mean of the proxies' ranks (:func:`joint_ranks`), among all that
    were scored so far. Proxies like large networks, so parameters and multiply-accumulates are
    kept and shown beside the ranks. The record of a trial has the task's metrics as null, and the
    proxies' scores in its detail.

    Args:
        name: Registered name.
        sampler: Makes the sampler; its proposals keep the limit that it is given.
        proxies: Names of registered proxies.
    """

    goals = 1
    units = ("trials",)
    usual = "trials=200"
    worth = "joint rank"

    def __init__(
        self, name: str, sampler: type[SpaceSampler], proxies: tuple[str, ...] = TRUSTED
    ) -> None:
        super().__init__(name)
        self.sampler, self.proxies = sampler, proxies

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """See :meth:`Strategy.check`; proxies stand in for a metric of the task, unmeasured."""
        super().check(space, objectives)
        for i, objective in enumerate(objectives):
            cost = objective.metric in COST_METRICS
            if cost and i == 0:
                raise UsageError(
                    f"The strategy {self.name!r} cannot make {objective.metric!r} its goal: name "
                    "a metric of the task, or use --strategy nsga2."
                )
            if not cost and objective.limit is not None:
                raise UsageError(
                    f"The strategy {self.name!r} trains nothing, so it cannot keep the limit "
                    f"{str(objective)!r}: use --strategy random, or leave the limit out."
                )

    def plan(self, context: Context, budget: Budget) -> Plan:
        """Trials for a time, or ``trials=N``; see the base."""
        counts = budget.only(*self.units)
        if budget.seconds is None:
            return {"trials": counts.get("trials", 200)}
        evaluator, times = ProxyEvaluator(context, self.proxies), []
        for trial in range(4):
            began = time.perf_counter()
            self._scored(context, evaluator, draw(context, SEARCH, trial), trial)
            times.append(time.perf_counter() - began)
        return {"trials": budget.fit(float(np.mean(times)))}

    def search(self, context: Context, plan: Plan) -> None:
        """See :meth:`Strategy.search`; a trial is a record."""
        seed = derive(context.seed, SEARCH, "sampler")
        sampler = self.sampler(context.space, seed=seed, limit=counted_limit(context))
        evaluator, total = ProxyEvaluator(context, self.proxies), plan["trials"]
        records = context.history.of(SEARCH)
        seen = {context.space.architecture(r.architecture or {}) for r in records}
        with context.reporter.bar(SEARCH, total, "trials") as advance:
            while (done := len(_scored(records))) < total and len(records) < REFUSED * total:
                rng = np.random.default_rng(derive(seed, len(records)))
                architecture = sampler.propose(self._observed(context, records), rng)
                if architecture in seen:
                    # A sampler proposes what is known where nothing else is left.
                    break
                seen.add(architecture)
                record = self._scored(context, evaluator, architecture, len(records))
                records.append(context.history.add(record))
                advance(done + 1)
        if done < total:
            context.reporter.say(
                f"The search ends after {done} of {total} trials: every other architecture that "
                "was found has been scored, or was measured to break a limit."
            )
        self._show(context, _scored(records))

    def _scored(
        self, context: Context, evaluator: ProxyEvaluator, architecture: Architecture, trial: int
    ) -> Record:
        began = time.perf_counter()
        task = context.task
        metrics: dict[str, float | None] = dict.fromkeys(("loss", *task.metrics))
        detail: dict[str, object] = {}
        dear = any(o.metric not in (*metrics, "params", "macs") for o in context.objectives)
        if dear:
            network = evaluator.network(architecture, trial)
            metrics |= costs(network, task)
            metrics |= measured(network, task, context.objectives)
        # Limits on counted costs are kept by the proposals.
        if not dear or context.allows(metrics):
            found = evaluator(architecture, UNTRAINED, trial=trial)
            metrics |= {name: found[name] for name in ("params", "macs")}
            detail["proxies"] = {name: found[name] for name in self.proxies}
        else:
            detail["refused"] = True
        spent = time.perf_counter() - began
        fidelity, choices = UNTRAINED.as_dict(), dict(architecture)
        return Record(SEARCH, trial + 1, choices, fidelity, metrics, spent, detail)

    def _observed(self, context: Context, records: Sequence[Record]) -> list[Observation]:
        """What the sampler learns: joint ranks as they are by now."""
        return [
            Observation(r.step - 1, context.space.architecture(r.architecture or {}), (worth,))
            for r, worth in zip(records, self.worths(context, records), strict=True)
        ]

    def worths(self, context: Context, records: Sequence[Record]) -> list[float]:
        """See :meth:`Strategy.worths`: the joint rank, minus infinity of what was not scored."""
        ranks = iter(joint_ranks([r.detail["proxies"] for r in _scored(records)]))
        return [next(ranks) if "proxies" in r.detail else -math.inf for r in records]

    def _show(self, context: Context, records: Sequence[Record]) -> None:
        """The best by their ranks, with what they cost, and how much ranks follow size."""
        worths = self.worths(context, records)
        best = sorted(range(len(records)), key=lambda i: -worths[i])[:SHOWN]
        for i in best:
            record = records[i]
            scores = ", ".join(
                f"{n} {'-' if v is None else format(v, '.4g')}"
                for n, v in record.detail["proxies"].items()
            )
            sizes = f"{record.metrics['params']:,} parameters, {record.metrics['macs']:,} MACs"
            context.reporter.say(
                f"Trial {record.step}: joint rank {worths[i]:.3f} ({scores}), {sizes}"
            )
        for metric, name in (("params", "parameters"), ("macs", "MACs")):
            bias = size_bias(worths, [r.metrics[metric] or 0.0 for r in records])
            context.reporter.say(f"Spearman's correlation of joint ranks with {name}: {bias:.2f}")


def _scored(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if "proxies" in r.detail]
