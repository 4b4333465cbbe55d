"""Gradient strategies: architecture parameters and weights are trained in turn."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.budget import Budget
from ..core.errors import UsageError
from ..core.evaluate import Metrics
from ..core.history import SEARCH, Record
from ..core.objective import COST_METRICS, Objective
from ..core.space import SearchSpace
from ..evaluation.context import Context
from ..evaluation.loop import run_loop
from ..evaluation.score import costs
from ..evaluation.select import choose
from ..evaluation.timing import seconds_each
from ..nn.cell_space import CellSpace
from .base import Plan, Strategy
from .gradient_search import GradientSearch
from .parts.costs import CostRows
from .perturbation import PerturbationSelection
from .settings import GradientSettings
from .tryout import TryOut, choose_tried, worths_tried

COLLAPSED = 0.5
"""Share of candidates without parameters from which a search is called collapsed."""

TRYOUT_SHARE = 0.6
"""Share of a time that goes to trying out."""


class Gradient(Strategy):
    """A gradient strategy: a supernet, its settings, and a decode at each epoch's end.

    Args:
        name: Registered name.
        settings: Parts and hyper-parameters.
    """

    needs_supernet = True
    goals = 1
    units: tuple[str, ...] = ("epochs", "steps")

    def __init__(self, name: str, settings: GradientSettings) -> None:
        super().__init__(name)
        self.settings = settings
        if settings.tryout:
            self.units = ("epochs", "steps", "trials")
            self.worth = "standing"
        self.usual = f"epochs={settings.epochs}"

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """See :meth:`Strategy.check`; a cost alone gives a supernet nothing to learn from."""
        super().check(space, objectives)
        if not space.mixes:
            raise UsageError(
                f"The strategy {self.name!r} trains architecture parameters, which the supernet "
                f"of the space {space.name!r} does not have: use --strategy ofa or spos."
            )
        if self.settings.needs_cells and not isinstance(space, CellSpace):
            raise UsageError(
                f"The strategy {self.name!r} works on the edges of cells, which the space "
                f"{space.name!r} does not have: use --strategy darts, gdas or drnas."
            )
        if objectives[0].metric in COST_METRICS:
            raise UsageError(
                f"The strategy {self.name!r} cannot make {objectives[0].metric!r} its goal: name "
                "a metric of the task, or use --strategy random."
            )
        for objective in objectives:
            known = CostRows.metrics(space)
            if objective.limit is not None and objective.metric not in known:
                raise UsageError(
                    f"The strategy {self.name!r} cannot keep the limit {str(objective)!r} in the "
                    f"space {space.name!r}: limit {' or '.join(known) or 'nothing'}, or use "
                    "--strategy random."
                )

    def plan(self, context: Context, budget: Budget) -> Plan:
        """Steps for a time, or for ``epochs=N`` or ``steps=N``; see :meth:`Strategy.plan`."""
        counts = budget.only(*self.units)
        if "epochs" in counts and "steps" in counts:
            raise UsageError(f"The budget {budget.text!r} names epochs and steps: name one.")
        trial = GradientSearch(context, replace(self.settings, warmup=0.0), steps=10**6)
        per_epoch = trial.train_stream.steps_per_epoch
        selection = PerturbationSelection(trial) if self.settings.perturbation else None
        if budget.seconds is None:
            epochs = counts.get("epochs", self.settings.epochs)
            steps = counts.get("steps", epochs * per_epoch)
            plan = {"steps": steps} | (selection.plan(steps) if selection else {})
            if self.settings.tryout:
                plan |= TryOut.plan(counts.get("trials", TryOut.TRIALS))
            return plan
        seconds = budget.seconds
        each = seconds_each(trial.step, seconds=0.04 * seconds)
        began = time.perf_counter()
        trial.score()
        self._costs(context, trial)
        if self.settings.stop is not None and self.settings.stop.needs_eigenvalue:
            trial.eigenvalue(0)
        each += (time.perf_counter() - began) / per_epoch
        if self.settings.tryout:
            one = TryOut(context, []).seconds(trial.decode())
            trials = TryOut.fit(TRYOUT_SHARE * seconds / one)
            steps = max(1, round((1 - TRYOUT_SHARE) * seconds / each))
            return {"steps": steps} | TryOut.plan(trials)
        if selection is None:
            return {"steps": budget.fit(each)}
        left = seconds - selection.seconds()
        steps = max(1, int(left / (each * (1 + selection.TUNING))))
        return {"steps": steps} | selection.plan(steps)

    def search(self, context: Context, plan: Plan) -> None:
        """See :meth:`Strategy.search`; an epoch's decode is a record, with its weights."""
        search = GradientSearch(context, self.settings, plan["steps"])
        run_loop(
            stage=SEARCH,
            seed=context.seed,
            steps=plan["steps"],
            steps_per_epoch=search.train_stream.steps_per_epoch,
            state=search.state(),
            step=search.step,
            epoch_end=lambda epoch: self._epoch_end(context, search, epoch),
            meter=search.meter,
            path=context.checkpoints / f"{SEARCH}.safetensors",
            reporter=context.reporter,
            stop=lambda: self._stops(context),
        )
        if self.settings.perturbation:
            search.advance(1.0)
            selection = PerturbationSelection(search)
            selection.run(plan)
            of_search = [r for r in context.history.of(SEARCH) if "selection" not in r.fidelity]
            self._record(context, search, len(of_search) + 1, selection)
        if self.settings.tryout:
            of_search = [r for r in context.history.of(SEARCH) if "selection" not in r.fidelity]
            decodes = [context.space.architecture(r.architecture or {}) for r in of_search]
            TryOut(context, decodes).run(plan, search.limit, len(of_search))
        self._warn(context)

    def choose(self, context: Context, records: Sequence[Record]) -> Record:
        """The best epoch's decode, of those that a stop rule trusts; or what was selected last."""
        stop, last = self.settings.stop, records[-1]
        if self.settings.tryout:
            return choose_tried(context, records)
        if self.settings.perturbation and last.fidelity.get("selection"):
            return choose(context, [last])
        if stop is not None and stop.stops([dict(r.detail) for r in records]):
            records = records[: stop.chosen([dict(r.detail) for r in records]) + 1]
        return choose(context, records)

    def worths(self, context: Context, records: Sequence[Record]) -> list[float]:
        """See :meth:`Strategy.worths`: how they stand in the try-out, where there was one."""
        if not self.settings.tryout:
            return super().worths(context, records)
        return worths_tried(context.history.of(SEARCH), records)

    def _stops(self, context: Context) -> bool:
        stop, records = self.settings.stop, context.history.of(SEARCH)
        return (
            stop is not None and bool(records) and stop.stops([dict(r.detail) for r in records])
        )

    def _epoch_end(self, context: Context, search: GradientSearch, epoch: int) -> str:
        means = search.meter.means()
        if not all(map(math.isfinite, means.values())):
            raise UsageError(
                f"The loss of the search is no longer finite in epoch {epoch}: look at the "
                "scale of the inputs."
            )
        record = self._record(context, search, epoch)
        goal = context.goal.metric
        return f"epoch {epoch}, supernet {goal} {record.metrics.get(goal) or 0:.3f}"

    def _record(
        self,
        context: Context,
        search: GradientSearch,
        step: int,
        selection: PerturbationSelection | None = None,
    ) -> Record:
        """Adds the present decode to the history, with what the collapse monitor sees."""
        known = context.history.find(SEARCH, step)
        if known is not None:
            return known
        began = time.perf_counter()
        if selection is None:
            architecture, strengths = search.decode(), search.supernet.strengths()
        else:
            strengths = selection.strengths()
            architecture = search.decode(strengths)
        metrics = search.score(architecture) | self._costs(context, search)
        detail: dict[str, Any] = {
            **search.meter.means(),
            "weights": {kind: s.tolist() for kind, s in strengths.items()},
            **_parameter_free(context.space, dict(architecture)),
        }
        stop = self.settings.stop
        if stop is not None and stop.needs_eigenvalue:
            detail["eigenvalue"] = search.eigenvalue(step)
        fidelity: dict[str, Any] = {"epochs": step, "supernet": True}
        if selection is not None:
            fidelity["selection"] = "perturbation"
        seconds = search.meter.seconds + time.perf_counter() - began
        seconds += 0.0 if selection is None else selection.spent
        return context.history.add(
            Record(SEARCH, step, dict(architecture), fidelity, metrics, seconds, detail)
        )

    def _warn(self, context: Context) -> None:
        """Says where the decode that counts is mostly candidates without parameters."""
        records = context.history.of(SEARCH)
        record, what = records[-1], "the last decode"
        if self.settings.tryout:
            record, what = choose_tried(context, records), "what was tried out best"
        share = record.detail["parameter_free"]
        if share >= COLLAPSED:
            context.reporter.say(
                f"{share:.0%} of {what} has no parameters: the search may have "
                "collapsed, as DARTS as published does; use another gradient strategy, such as "
                "robust or drnas, and compare with --strategy random."
            )

    def _costs(self, context: Context, search: GradientSearch) -> Metrics:
        task = context.task
        network = context.space.build(search.decode(), task.input_shape, task.outputs)
        # Measured where a limit asks for it: it costs more than all the rest of a record.
        latency = any(o.metric == "latency_ms" for o in context.objectives)
        return costs(network.to(context.device), task, latency=latency)


def _parameter_free(space: SearchSpace, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Share of edges without parameters, and most skip connections of one kind of cell."""
    architecture = space.architecture(choices)
    found: dict[str, Any] = {"parameter_free": space.parameter_free(architecture)}
    if isinstance(space, CellSpace):
        cells = [list(own.values()) for own in space.genotype(architecture).values()]
        found["skips"] = max(names.count("skip_connect") for names in cells)
    return found
