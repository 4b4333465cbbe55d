"""The one entry that composes all of it: ``search`` and ``resume``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from .core.budget import Budget
from .core.errors import UsageError
from .core.files import write_json
from .core.history import Record
from .core.objective import parse_objectives
from .core.progress import Reporter
from .core.registry import baselines, spaces, strategies
from .core.run import Run
from .core.space import SearchSpace, load_space
from .core.task import Task, load_task
from .evaluation import compare
from .evaluation.context import (
    Context,
    is_out_of_memory,
    make_accelerator,
    resolve_device,
    resolve_precision,
)
from .evaluation.select import choose, front
from .hardware.environment import describe_environment
from .strategies.base import Strategy
from .strategies.blackbox import draw

SEARCH = "search"
T = TypeVar("T")


def search(
    space: str | SearchSpace,
    task: str | Task,
    *,
    out: str | Path,
    strategy: str = "auto",
    objectives: Sequence[str] = (),
    budget: str | None = None,
    train_budget: str | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    validate: bool = True,
    randoms: int = 3,
    train_seeds: int = 1,
    plan: str | Path | None = None,
    domain: str | None = None,
    task_options: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Searches a network, trains it fully, and compares it with random and hand-made ones.

    Args:
        space: A space, or a text such as ``darts:cells=4,channels=8``.
        task: A task, or what :func:`load_task` reads.
        out: Run directory; must not hold a run.
        strategy: A registered name; "auto" picks by what the space can do, and says so.
        objectives: E.g. ``["accuracy", "params<=1e6"]``; the task's first metric by default.
        budget: Of the search: a time (``10m``) or a count; the strategy's own where None.
        train_budget: Of each full training: a time or ``epochs=N``; the recipe's where None.
        seed: Of everything random.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "float32" or "bfloat16".
        validate: Whether random and hand-made networks are trained beside the winner.
        randoms: How many random architectures.
        train_seeds: Trainings of each row, on the same seeds.
        plan: A run whose exact plan is repeated instead of the budgets.
        domain: Domain of the data, where that alone does not tell.
        task_options: Options of the task's loader.
        recipe: Fields of the training recipe to change, e.g. ``{"lr": 0.1}``.
        quiet: Show no progress.

    Returns:
        The finished run.

    Raises:
        UsageError: Anything wrong with an input or option; nothing is left behind.
    """
    if randoms < 1 or train_seeds < 1:
        raise UsageError("--randoms and --train-seeds must be at least 1.")
    if plan is not None and (budget or train_budget):
        raise UsageError(
            "--plan repeats the plan of a run: leave --budget and --train-budget out."
        )
    made_space = load_space(space) if isinstance(space, str) else space
    loaded = _load(task, domain, task_options)
    resolved = resolve_device(device)
    reporter = Reporter(quiet)
    name = strategy
    if strategy == "auto":
        name = "darts" if made_space.has_supernet else "random"
        reporter.say(
            f"Strategy: {name} (the space {made_space.name!r} "
            f"{'has a' if made_space.has_supernet else 'has no'} supernet)"
        )
    config: dict[str, Any] = {
        "space": space if isinstance(space, str) else space.name,
        "space_config": dict(made_space.config),
        "space_fingerprint": made_space.fingerprint,
        "task": task if isinstance(task, str) else None,
        "task_name": loaded.name,
        "domain": domain,
        "task_options": task_options or {},
        "task_fingerprint": loaded.fingerprint(),
        "notes": list(loaded.notes),
        "strategy": name,
        "objectives": list(objectives),
        "budget": budget,
        "train_budget": train_budget,
        "seed": seed,
        "device": resolved,
        "precision": resolve_precision(precision, resolved),
        "threads": torch.get_num_threads(),
        "validate": validate,
        "randoms": randoms,
        "train_seeds": train_seeds,
        "recipe": recipe or {},
    }
    if plan is not None:
        config["plan"] = _plan_of(plan, name)
    work = _Work.prepare(config, made_space, loaded, reporter)
    config["batch_size_asked"] = work.task.recipe.batch_size
    run = Run.create(out, config)
    try:
        return work.finish(run)
    except UsageError:
        if not len(run.history):
            run.discard()
        raise
    finally:
        run.unlock()


def resume(
    path: str | Path,
    *,
    space: SearchSpace | None = None,
    task: Task | None = None,
    quiet: bool = False,
) -> Run:
    """Goes on with a run that was stopped; its result is that of a run that was not.

    Args:
        path: The run directory. A finished run is returned as it is.
        space: The space, where the run was made with one that is not registered.
        task: The task, where the run was made with one in Python.
        quiet: Show no progress.

    Raises:
        UsageError: No run there, it is in use, or its data or space are not those it began with.
    """
    run = Run.open(path)
    if run.finished:
        return run
    config = run.config
    if space is None:
        if config["space"].partition(":")[0] not in spaces:
            raise UsageError(
                f"The space {config['space']!r} of {str(path)!r} is not registered: pass it as "
                "nas_domains.resume(..., space=...)."
            )
        space = spaces.get(config["space"].partition(":")[0], **config["space_config"])
    if space.fingerprint != config["space_fingerprint"]:
        raise UsageError(
            f"The run {str(path)!r} was made with another space ({config['space_fingerprint']}, "
            f"not {space.fingerprint}): resume it with its own."
        )
    if task is None:
        if config["task"] is None:
            raise UsageError(
                f"The task {config['task_name']!r} of {str(path)!r} was made in Python: pass it "
                "as nas_domains.resume(..., task=...)."
            )
        task = _load(config["task"], config["domain"], config["task_options"])
    if task.fingerprint() != config["task_fingerprint"]:
        raise UsageError(
            f"The data of {config['task_name']!r} is not what the run {str(path)!r} began with: "
            "restore it, or start a new run."
        )
    resolve_device(config["device"])
    torch.set_num_threads(config["threads"])
    work = _Work.prepare(config, space, task, Reporter(quiet))
    run.lock()
    try:
        return work.finish(run)
    finally:
        run.unlock()


@dataclass
class _Work:
    """A checked request, ready to fill a run."""

    config: dict[str, Any]
    space: SearchSpace
    task: Task
    strategy: Strategy
    reporter: Reporter

    @staticmethod
    def prepare(
        config: dict[str, Any], space: SearchSpace, task: Task, reporter: Reporter
    ) -> "_Work":
        if config["recipe"]:
            task = task.with_recipe(**config["recipe"])
        strategy: Strategy = strategies.get(config["strategy"])
        work = _Work(config, space, task, strategy, reporter)
        strategy.check(space, work.objectives)
        Budget.parse(config["budget"] or strategy.usual).only(*strategy.units)
        Budget.parse(config["train_budget"] or "epochs=1").only("epochs")
        space.build(space.sample(1)[0], task.input_shape, task.outputs)
        return work

    @property
    def objectives(self) -> list[Any]:
        return parse_objectives(self.config["objectives"], list(self.task.metrics))

    def finish(self, run: Run) -> Run:
        """Plans what is not planned, searches, compares, and writes the result and the report."""
        self.config = run.config
        write_json(run.path / "environment.json", describe_environment(self.config["device"]))
        context = self._context(run)
        self._roomy(run, context, (), lambda: self._plan(run, context))
        self._roomy(
            run,
            context,
            ("search", "trial/"),
            lambda: self.strategy.search(context, run.config["plan"]["search"]),
        )
        records = context.history.of(SEARCH)
        winner = choose(context, records)
        rows = self._rows(context, winner)
        plan = run.config["plan"]["train"]
        self._roomy(
            run,
            context,
            ("train/", "test/"),
            lambda: compare.train_rows(
                context,
                rows,
                epochs=plan["epochs"],
                seeds=self.config["train_seeds"],
                best=run.folder("best"),
            ),
        )
        run.save_result(self._result(context, records, winner, rows))
        run.report()
        return run

    def _context(self, run: Run) -> Context:
        return Context(
            space=self.space,
            task=self.task,
            objectives=self.objectives,
            seed=self.config["seed"],
            accelerator=make_accelerator(self.config["device"], self.config["precision"]),
            history=run.history,
            checkpoints=run.folder("checkpoints"),
            reporter=self.reporter,
            batch_size=self.config.get("plan", {}).get("batch_size", 0),
        )

    def _roomy(
        self, run: Run, context: Context, stages: tuple[str, ...], work: Callable[[], T]
    ) -> T:
        """Does some work; where memory runs out, halves the batch and does it anew."""
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or context.batch_size <= 1:
                    raise
            context.batch_size //= 2
            self.reporter.say(
                f"Out of memory: the batch is halved to {context.batch_size} from here on."
            )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            for stage in {r.stage for r in context.history if r.stage.startswith(stages or "\0")}:
                context.history.drop(stage)
            for stage in stages:
                for path in sorted(context.checkpoints.glob(f"{stage.rstrip('/')}*/**/*")):
                    path.unlink() if path.is_file() else None
                (context.checkpoints / f"{stage}.safetensors").unlink(missing_ok=True)
            if "plan" in run.config:
                run.config["plan"]["batch_size"] = context.batch_size
                run.save_config()

    def _plan(self, run: Run, context: Context) -> None:
        if "plan" in run.config:
            return
        config = self.config
        budget = Budget.parse(config["budget"] or self.strategy.usual)
        training = Budget.parse(config["train_budget"] or f"epochs={self.task.recipe.epochs}")
        self.reporter.say("Planning: timing a few steps ...")
        found = self.strategy.plan(context, budget)
        rows = self._rows(context, None)
        if not rows:
            rows = [compare.architecture_row(context, "plan", self.space.sample(1)[0])]
        epochs = compare.plan_epochs(context, training, rows)
        run.config["plan"] = {
            "batch_size": context.batch_size,
            "search": found,
            "train": {"epochs": epochs},
        }
        run.save_config()
        shown = ", ".join(f"{n} {unit}" for unit, n in found.items())
        self.reporter.say(f"Plan: search {shown}; {epochs} epochs for each full training")

    def _rows(self, context: Context, winner: Record | None) -> list[compare.Row]:
        rows = []
        if winner is not None:
            assert winner.architecture is not None
            architecture = self.space.architecture(winner.architecture)
            rows.append(compare.architecture_row(context, compare.WINNER, architecture))
        if self.config["validate"]:
            for i in range(self.config["randoms"]):
                architecture, _ = draw(context, "random", i)
                rows.append(compare.architecture_row(context, f"random/{i}", architecture))
            rows += hand_made(self.task)
        return rows

    def _result(
        self, context: Context, records: list[Record], winner: Record, rows: list[compare.Row]
    ) -> dict[str, Any]:
        summary = compare.summarise(context, rows, self.config["train_seeds"])
        assert winner.architecture is not None
        architecture = self.space.architecture(winner.architecture)
        best: dict[str, Any] = {
            "architecture": dict(architecture),
            "metrics": summary["best_metrics"],
            "search_metrics": dict(winner.metrics),
            "step": winner.step,
        }
        arch_str = getattr(self.space, "arch_str", None)
        if arch_str is not None:
            best["arch_str"] = arch_str(architecture)
        tests = [r for r in context.history if r.stage.startswith("test/")]
        return {
            "space": self.config["space"],
            "strategy": self.config["strategy"],
            "seed": self.config["seed"],
            "plan": self.config["plan"],
            "objectives": [str(o) for o in context.objectives],
            "best": best,
            "random_baseline": summary["random_baseline"],
            "baselines": summary["baselines"],
            "pareto": front(context, records),
            "search_seconds": sum(r.seconds for r in records),
            "train_seconds": sum(r.seconds + r.detail["train_seconds"] for r in tests),
            "environment": describe_environment(self.config["device"]),
        }


def hand_made(task: Task) -> list[compare.Row]:
    """The rows of the domain's hand-made networks; images made in Python count as vision."""
    domain = task.domain or ("vision" if len(task.input_shape) == 3 else "")
    if domain not in baselines:
        return []
    networks = baselines.load(domain)
    # Built anew for each training, so that its weights come from that training's seed.
    return [compare.Row(name, partial(_one, networks, task, name)) for name in networks(task)]


def _one(networks: Callable[[Task], dict[str, nn.Module]], task: Task, name: str) -> nn.Module:
    return networks(task)[name]


def _load(task: str | Task, domain: str | None, options: dict[str, Any] | None) -> Task:
    if isinstance(task, Task):
        if domain or options:
            raise UsageError("A task made in Python takes no domain and no options of a loader.")
        return task
    return load_task(task, domain=domain, **(options or {}))


def _plan_of(path: str | Path, strategy: str) -> dict[str, Any]:
    other = Run.open(path)
    if "plan" not in other.config:
        raise UsageError(
            f"The run {str(path)!r} has no plan yet: let it begin, or give a --budget."
        )
    if other.config["strategy"] != strategy:
        raise UsageError(
            f"The plan of {str(path)!r} is one of {other.config['strategy']!r}, not of "
            f"{strategy!r}: use the same --strategy."
        )
    plan: dict[str, Any] = other.config["plan"]
    return plan
