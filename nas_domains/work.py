"""What a run does, from its plan to its report."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from .core.budget import Budget
from .core.errors import UsageError
from .core.evaluate import Fidelity
from .core.files import write_json
from .core.history import PREPARE, RANK, SEARCH, Record
from .core.objective import Objective, parse_objectives
from .core.pretrained import PretrainedSpace
from .core.progress import Reporter
from .core.registry import baselines, strategies
from .core.run import BEST, CHECKPOINTS, ENVIRONMENT, Run
from .core.space import SearchSpace
from .core.task import Recipe, Task
from .evaluation import compare
from .evaluation.context import Context, is_out_of_memory, make_accelerator
from .evaluation.explain import explain
from .evaluation.fidelity import reduced_shape
from .evaluation.fronts import front_progress
from .evaluation.select import front
from .hardware.cost import example_inputs
from .hardware.environment import describe_environment
from .hardware.meters import check_meters, how_measured
from .ops import active
from .strategies.base import Strategy
from .strategies.blackbox import BlackBox, draw
from .strategies.prior import interleave

T = TypeVar("T")


@dataclass
class Work:
    """A checked request, ready to fill a run.

    Attributes:
        config: What was asked for, as it stands in ``config.yaml``.
        space: The space.
        task: The task, with the recipe that was asked for.
        strategy: The strategy.
        reporter: Shows progress.
    """

    config: dict[str, Any]
    space: SearchSpace
    task: Task
    strategy: Strategy
    reporter: Reporter

    @staticmethod
    def prepare(
        config: dict[str, Any], space: SearchSpace, task: Task, reporter: Reporter
    ) -> "Work":
        """Checks that a request can be done, before anything is written.

        Raises:
            UsageError: What the request asks for does not fit together.
        """
        recipe = config["recipe"]
        if "recipe_used" in config:
            # A resumed run keeps the whole recipe that it began with; what its version did not
            # know yet is off.
            recipe = asdict(Recipe()) | config["recipe_used"]
        if recipe:
            task = task.with_recipe(**recipe)
        strategy: Strategy = strategies.get(config["strategy"])
        work = Work(config, space, task, strategy, reporter)
        strategy.check(space, work.objectives)
        check_meters(work.objectives, torch.device(config["device"]))
        if config.get("workers", 1) > 1 and isinstance(space, PretrainedSpace):
            raise UsageError(
                f"The space {space.name!r} is fitted in one process and does not take --workers: "
                "leave it out."
            )
        for option, used in (
            ("--workers", config.get("workers", 1) > 1),
            ("--storage", config.get("storage")),
            ("--prior", config.get("priors")),
            ("--fidelity", config.get("fidelity")),
        ):
            if used and not isinstance(strategy, BlackBox):
                raise UsageError(
                    f"The strategy {strategy.name!r} does not take {option}: leave it out, or use "
                    "--strategy evolution."
                )
        Budget.parse(config["budget"] or strategy.usual).only(*strategy.units)
        Budget.parse(config["train_budget"] or "epochs=1").only("epochs")
        space.check_task(task.preprocess)
        network = space.build(space.sample(1)[0], task.input_shape, task.outputs)
        _check_fits(space, task, network)
        shares = Fidelity(1, **config.get("fidelity", {}))
        shape = reduced_shape(task, shares)
        if shape != task.input_shape:
            space.build(space.sample(1)[0], shape, task.outputs)
        return work

    @property
    def objectives(self) -> list[Objective]:
        """Goals first, then limits."""
        return parse_objectives(self.config["objectives"], self.task.metrics)

    def finish(self, run: Run) -> Run:
        """Plans what is not planned, searches, compares, and writes the result and the report."""
        self.config = run.config
        if not (run.path / ENVIRONMENT).exists():
            write_json(run.path / ENVIRONMENT, describe_environment(self.config["device"]))
        context = self._context(run)
        if set(active(self.config["device"]).values()) == {"reference"}:
            self.reporter.say(
                "No compiled kernel for this device: ops run on the slower PyTorch reference "
                "(nas-domains doctor says more)."
            )
        if isinstance(self.space, PretrainedSpace):
            space = self.space
            self._roomy(run, context, (PREPARE,), lambda: space.prepare(context))
        self._roomy(run, context, (), lambda: self._plan(run, context))
        self._roomy(
            run,
            context,
            (SEARCH, RANK, "trial/"),
            lambda: self.strategy.search(context, run.config["plan"]["search"]),
        )
        records = context.history.of(SEARCH)
        winner = self.strategy.choose(context, records)
        rows = self._rows(context, winner)
        self._roomy(
            run,
            context,
            ("train/", "test/"),
            lambda: compare.train_rows(
                context,
                rows,
                epochs=lambda row: self._epochs(run, context, row),
                seeds=self.config["train_seeds"],
                best=run.folder(BEST),
            ),
        )
        result = self._result(context, records, winner, rows)
        for limit, kept in result["limits_kept"].items():
            if not kept:
                self.reporter.say(
                    f"Measured again after full training, the winner does not keep {limit}."
                )
        run.save_result(result)
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
            checkpoints=run.folder(CHECKPOINTS),
            reporter=self.reporter,
            batch_size=self.config.get("plan", self.config).get("batch_size", 0),
            randoms=self.config["randoms"] if self.config["validate"] else 0,
            # Runs of earlier versions know of none of these.
            storage=self.config.get("storage") or "",
            workers=self.config.get("workers", 1),
            priors=interleave(
                self.space, [*self.config.get("priors", []), self.config.get("begin_with", [])]
            ),
            shares=self.config.get("fidelity", {}),
            timed=Budget.parse(self.config["train_budget"] or "epochs=1").seconds is not None,
        )

    def _roomy(
        self, run: Run, context: Context, stages: tuple[str, ...], work: Callable[[], T]
    ) -> T:
        """Does some work; where memory runs out, halves the batch and does it anew.

        Args:
            run: The run.
            context: Of the run; its batch size changes.
            stages: How the names of the stages begin whose work is undone.
            work: What is done.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            before, context.batch_size = context.batch_size, context.batch_size // 2
            if before > 1:
                self.reporter.say(
                    f"Out of memory: the batch is halved to {context.batch_size} from here on."
                )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            # In this order a kill in between leaves a run that begins the stage anew.
            for path in sorted(context.checkpoints.rglob("*.safetensors")):
                if path.relative_to(context.checkpoints).as_posix().startswith(stages):
                    path.unlink()
            if SEARCH in stages:
                self.strategy.restart(context)
            if stages:
                context.history.drop(stages)
            if before <= 1:
                raise UsageError(
                    "Memory ran out even with a batch of 1: make the space smaller with --space."
                )
            if "plan" in run.config:
                plan = run.config["plan"]
                plan["batch_size"] = context.batch_size
                if SEARCH in stages and "steps" in plan[SEARCH]:
                    # As many samples as before are seen.
                    plan[SEARCH]["steps"] *= before // context.batch_size
                if "rows" in plan["train"] and "train/" in stages:
                    plan["train"]["rows"] = {}
            else:
                run.config["batch_size"] = context.batch_size
            run.save_config()

    def _plan(self, run: Run, context: Context) -> None:
        if "plan" in run.config:
            return
        config = self.config
        budget = Budget.parse(config["budget"] or self.strategy.usual)
        training = Budget.parse(config["train_budget"] or f"epochs={self.task.recipe.epochs}")
        self.reporter.say("Planning: timing a few steps ...")
        found = self.strategy.plan(context, budget)
        planned: dict[str, Any] = dict(training.counts)
        if training.seconds is not None:
            # Each row's epochs are found, and written down, just before it trains.
            planned = {"seconds": training.seconds, "rows": {}}
        run.config["plan"] = {
            "batch_size": context.batch_size,
            "search": found,
            "train": planned,
        }
        run.save_config()
        said = {"seconds": "seconds each"}
        shown = ", ".join(f"{n} {said.get(unit, unit)}" for unit, n in found.items())
        counted = training.seconds is None
        each = f"{planned['epochs']} epochs" if counted else training.text
        self.reporter.say(f"Plan: search {shown}; {each} for each full training")

    def _epochs(self, run: Run, context: Context, row: compare.Row) -> float:
        """Epochs of a row's trainings, as the plan says, or by its own speed where that is new."""
        plan = run.config["plan"]["train"]
        if "epochs" in plan:
            epochs: float = plan["epochs"]
            return epochs
        if row.name not in plan["rows"]:
            own = None if row.architecture is None else dict(row.architecture)
            known = [
                told["epochs"]
                for told in self.config.get("told", ())
                if (told["row"], told["architecture"]) == (row.name, own)
            ]
            found = known[0] if known else compare.epochs_of(context, row, plan["seconds"])
            plan["rows"][row.name] = found
            run.save_config()
            self.reporter.say(f"  {row.name}: {found:.3g} epochs")
        epochs = plan["rows"][row.name]
        return epochs

    def _rows(self, context: Context, winner: Record | None) -> list[compare.Row]:
        rows = []
        if winner is not None:
            assert winner.architecture is not None
            architecture = self.space.architecture(winner.architecture)
            rows.append(compare.architecture_row(context, compare.WINNER, architecture))
        if self.config["validate"]:
            for i in range(context.randoms):
                architecture = draw(context, "random", i)
                rows.append(compare.architecture_row(context, f"random/{i}", architecture))
            rows += self._references(context, winner)
            rows += hand_made(self.task)
        return rows

    def _references(self, context: Context, winner: Record | None) -> list[compare.Row]:
        if winner is None:
            return []
        assert winner.architecture is not None
        named = self.space.references(
            self.space.architecture(winner.architecture), self.task.input_shape, self.task.outputs
        )
        return [compare.architecture_row(context, name, a) for name, a in named.items()]

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
        alike = [r for r in records if _alike(r, winner)]
        members = front(context, alike)
        tests = [r for r in context.history if r.stage.startswith("test/")]
        prepared = sum(r.seconds for r in context.history if r.stage.startswith(PREPARE))
        return {
            "space": self.config["space"],
            "strategy": self.config["strategy"],
            "seed": self.config["seed"],
            "plan": self.config["plan"],
            "objectives": [str(o) for o in context.objectives],
            "best": best,
            "limits_kept": {
                str(o): o.allows(summary["best_metrics"])
                for o in context.objectives
                if o.limit is not None
            },
            "random_baseline": summary["random_baseline"],
            "shared_weights_rank": compare.rank(context, rows, winner, self.config["train_seeds"]),
            "baselines": summary["baselines"],
            "measured": how_measured(
                context.objectives, self.config["device"], context.workers
            ),
            "pareto": members,
            "front": front_progress(context, alike, members),
            "explanation": explain(
                context,
                alike,
                self.strategy.worths(context, alike),
                winner,
                self.strategy.worth,
            ),
            **({"prepare_seconds": prepared} if prepared else {}),
            "search_seconds": sum(r.seconds for r in records),
            "train_seconds": sum(r.seconds + r.detail["train_seconds"] for r in tests),
            "environment": describe_environment(self.config["device"]),
        }


def _check_fits(space: SearchSpace, task: Task, network: nn.Module) -> None:
    """Refuses a space of classifiers where each voxel or token has a class, and the reverse."""
    if task.infer is None and task.loss is not nn.functional.cross_entropy:
        return
    dense = task.infer is not None or torch.as_tensor(task.train[0][1]).dim() > 0
    one = example_inputs(network, task.input_shape, torch.device("cpu"))[0]
    try:
        with torch.no_grad():
            shape = tuple(network.eval()(one).shape)
    except (RuntimeError, ValueError, IndexError):
        raise UsageError(
            f"Networks of the space {space.name!r} do not take the inputs of {task.name!r}: use "
            f"--space {task.space}."
        ) from None
    texts = not one.is_floating_point()
    places = one.shape[1:] if texts else task.input_shape[1:]
    wanted = (1, task.outputs, *(places if dense else ()))
    if shape != wanted:
        kind = f"a class for each {'token' if texts else 'voxel'}" if dense else "one class"
        raise UsageError(
            f"Networks of the space {space.name!r} return {shape} for one input of {task.name!r}, "
            f"which asks for {kind}: use --space {task.space}."
        )


def _alike(record: Record, winner: Record) -> bool:
    """Whether a record was scored as the winner was, so that they compare."""
    return record.fidelity.get("selection") == winner.fidelity.get("selection")


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
