"""One-shot strategies: shared weights are trained by single paths, then paths are searched."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ..core.architecture import Architecture
from ..core.budget import Budget
from ..core.errors import UsageError
from ..core.evaluate import Fidelity
from ..core.history import RANK, SEARCH, Record
from ..core.pretrained import PretrainedSpace
from ..core.seeds import derive, seed_all
from ..evaluation.context import Context
from ..evaluation.halves import path_data
from ..evaluation.loop import Meter, Stateful, learning_rate, run_loop, set_learning_rate
from ..evaluation.score import full_precision
from ..evaluation.stream import Stream
from ..evaluation.supernet import SupernetEvaluator
from ..evaluation.timing import seconds_each
from ..evaluation.train import (
    augmented,
    distilled,
    imitated,
    make_optimizer,
    teaching,
    training_loss,
)
from ..nn.supernet import Supernet
from .base import Plan, Strategy
from .blackbox import counted_limit, draw
from .path_evolution import Evolution
from .paths import extremes, fair_paths, uniform_paths

TRAINING = f"{SEARCH}/supernet"
"""Stage of the records of the shared weights' training, one an epoch, without an architecture."""

SCORING = 0.2
"""Share of a time that goes into scoring paths at most; the rest trains the shared weights."""

Proposals = Callable[[Sequence[Record]], list[Architecture]]
"""From the records so far to the architectures that are scored next, at least one."""


@dataclass(frozen=True)
class OneShotSettings:
    """How the shared weights are trained.

    Attributes:
        paths: "uniform", one path a step (Guo et al. 2020); "fair", the paths of a step hold each
            option of a choice once (Chu et al. 2021); "sandwich", the largest, the smallest and
            some random paths, which learn from the largest (Yu et al. 2020); "controller", those
            of a subclass.
        lr: Peak learning rate for batches of ``lr_batch``; it is scaled linearly to the batch that
            is used (Goyal et al. 2017), as the published batches are large.
        lr_batch: The published batch.
        lr_end: Learning rate at the end, scaled alike.
        schedule: "cosine" or "linear", from ``lr`` to ``lr_end``.
        momentum: Of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Of all shared weights.
        grad_clip: Largest norm of a step's gradient; not published, it guards small batches.
        randoms: Random paths of a sandwich.
        samples: Training samples on which a path's batch-norm statistics are measured.
        epochs: Epochs where no budget is given.
        trials: Paths that are scored where no budget is given; with a time, at most.
    """

    paths: Literal["uniform", "fair", "sandwich", "controller"]
    lr: float
    lr_batch: int
    lr_end: float = 0.0
    schedule: Literal["cosine", "linear"] = "cosine"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 4e-5
    grad_clip: float = 5.0
    randoms: int = 2
    samples: int = 1024
    epochs: int = 120
    trials: int = 1000


class PathTraining:
    """The state of the shared weights' training, and its step.

    Weights learn on the first of the halves that gradient strategies use too, or where they are
    pretrained on all of the training split. Where the space says so, they learn by the task's
    recipe.

    Args:
        context: Of the run.
        settings: Hyper-parameters.
        steps: Steps in all, for the schedule.
    """

    def __init__(self, context: Context, settings: OneShotSettings, steps: int) -> None:
        self.context, self.settings, self.steps = context, settings, steps
        task = context.task
        seed_all(context.seed, SEARCH, "init")
        # Any module with set_architecture and weight_parameters will do.
        self.supernet = cast(Supernet, context.space.supernet(task.input_shape, task.outputs))
        self.supernet.to(context.device)
        self.weights = self.supernet.weight_parameters()
        # Numbers for convolutions that begin at random would undo what pretrained weights have
        # learnt, and teach transformers little.
        self.gentle = context.space.by_recipe
        self.optimizer: torch.optim.Optimizer
        if self.gentle:
            self.optimizer = make_optimizer(self.weights, task.recipe)
        else:
            self.optimizer = torch.optim.SGD(
                self.weights,
                lr=settings.lr,
                momentum=settings.momentum,
                nesterov=settings.nesterov,
                weight_decay=settings.weight_decay,
            )
        first, self.scored, self.indices = path_data(context)
        seed = derive(context.seed, SEARCH, "weights")
        self.stream = Stream(task.train, context.batch_size, seed, first)
        self.meter = Meter()
        self.limit = counted_limit(context)
        self.ends: list[Architecture] = []
        if settings.paths == "sandwich":
            self.ends += extremes(
                context.space,
                task.input_shape,
                task.outputs,
                seed=derive(context.seed, SEARCH, "extremes"),
                limit=self.limit,
            )

    def state(self) -> dict[str, Stateful]:
        """What a checkpoint keeps."""
        return {"supernet": self.supernet, "optimizer": self.optimizer}

    def paths(self, step: int) -> list[Architecture]:
        """The paths of a step. Of a sandwich the first is the largest.

        Uniform and random paths keep the limits on counted costs. Fair ones go through all options
        of all choices, as they would not be fair otherwise; limits then count in the search alone.
        """
        space, seed = self.context.space, derive(self.context.seed, SEARCH, "paths")
        if self.settings.paths == "fair":
            return fair_paths(space, seed=seed, step=step)
        n = self.settings.randoms if self.ends else 1
        drawn = uniform_paths(space, n, seed=seed, first=step * n, limit=self.limit)
        return [*self.ends, *drawn]

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        settings, recipe = self.settings, self.context.task.recipe
        if self.gentle:
            return learning_rate(step, self.steps, recipe.lr, recipe.warmup, recipe.schedule)
        peak = settings.lr - settings.lr_end
        if settings.schedule == "linear":
            rate = settings.lr_end + peak * (1 - step / self.steps)
        else:
            rate = settings.lr_end + learning_rate(step, self.steps, peak, 0.0)
        return rate * self.stream.batch_size / settings.lr_batch

    def step(self, step: int) -> None:
        """One step of the loop."""
        self.meter.add(train_loss=self.weight_step(step))

    def weight_step(self, step: int) -> Tensor:
        """The gradients of all paths of a step on one batch, added up, then one optimizer step.

        Returns:
            The mean loss of the paths.
        """
        set_learning_rate(self.optimizer, self.rate(step))
        x, y = augmented(self.context, self.stream, step, f"{SEARCH}/weights")
        self.supernet.train()
        # None and not zero: the weights of other paths take no step, not even one of momentum.
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(self.paths(step), x, y)
        clip = self.context.task.recipe.grad_clip if self.gentle else self.settings.grad_clip
        nn.utils.clip_grad_norm_(self.weights, clip)
        self.optimizer.step()
        return torch.stack(losses).mean()

    def _backward(self, paths: Sequence[Architecture], x: Tensor, y: Tensor) -> list[Tensor]:
        losses: list[Tensor] = []
        target = teaching(self.context, x)
        # Only classes have soft labels; in other tasks all paths learn from the data.
        distils = bool(self.ends) and self.context.task.loss is nn.functional.cross_entropy
        soft: Tensor | None = None
        for path in paths:
            output = self.output(path, x)
            if soft is None or target is not None:
                loss = distilled(training_loss(self.context, output, y), output, target)
            else:
                loss = imitated(output, soft)
            if distils and soft is None:
                soft = output.detach()
            self.context.accelerator.backward(loss)
            losses.append(loss.detach())
        return losses

    def output(self, path: Architecture, x: Tensor) -> Tensor:
        """What a path gives for x [B, ...]: [B, outputs] in full precision."""
        self.supernet.set_architecture(path)
        with self.context.accelerator.autocast():
            output = self.supernet(x)
        return full_precision(output)

    @property
    def epochs(self) -> int:
        """Passes over the half that weights learn on, the last one begun or whole."""
        return math.ceil(self.steps / self.stream.steps_per_epoch)

    def run(self) -> Supernet:
        """Trains from the checkpoint, if there is one, to the end.

        Each epoch is a record of the stage ``TRAINING``, so that its seconds outlive a kill.

        Returns:
            The supernet.

        Raises:
            UsageError: The loss is no longer finite.
        """

        def epoch_end(epoch: int) -> str:
            means = self.meter.means()
            if not all(map(math.isfinite, means.values())):
                raise UsageError(
                    f"The loss of the supernet is no longer finite in epoch {epoch}: look at the "
                    "scale of the inputs."
                )
            self.context.history.add(
                Record(TRAINING, epoch, None, shared(epoch), {}, self.meter.seconds, detail=means)
            )
            return f"epoch {epoch}, training loss {means['train_loss']:.3f}"

        run_loop(
            stage=SEARCH,
            seed=self.context.seed,
            steps=self.steps,
            steps_per_epoch=self.stream.steps_per_epoch,
            state=self.state(),
            step=self.step,
            epoch_end=epoch_end,
            meter=self.meter,
            path=self.context.checkpoints / f"{SEARCH}.safetensors",
            reporter=self.context.reporter,
        )
        return self.supernet


class OneShot(Strategy):
    """Trains the shared weights by single paths, then scores paths that evolution proposes.

    Limits on counted costs are kept by every path that is scored; one on latency is measured with
    each score and counts in the evolution. Several goals are weighed by fronts.

    Args:
        name: Registered name.
        settings: Of the training.
        evolution: Of the search; that of Guo et al. 2020 where None.
    """

    needs_supernet = True
    units: tuple[str, ...] = ("epochs", "trials")

    def __init__(
        self, name: str, settings: OneShotSettings, evolution: Evolution | None = None
    ) -> None:
        super().__init__(name)
        self.settings = settings
        self.evolution = evolution or Evolution()
        self.usual = f"epochs={settings.epochs},trials={settings.trials}"

    def training(self, context: Context, steps: int) -> PathTraining:
        """The training of a run."""
        return PathTraining(context, self.settings, steps)

    def proposals(self, context: Context, training: PathTraining) -> Proposals:
        """What is scored after the training."""
        return lambda scored: self.evolution.propose(context, scored)

    def plan(self, context: Context, budget: Budget) -> Plan:
        """Steps of the weights and trials of paths, for a time or ``epochs=N,trials=N``.

        With a time, a fifth of it scores as many paths as fit, but no more than are published, and
        the rest trains; see :meth:`Strategy.plan`.
        """
        counts = budget.only(*self.units)
        training = self.training(context, steps=10**6)
        per_epoch = training.stream.steps_per_epoch
        if budget.seconds is None:
            return {
                "steps": counts.get("epochs", self.settings.epochs) * per_epoch,
                "trials": counts.get("trials", self.settings.trials),
            }
        each = seconds_each(training.step, least=3, seconds=0.04 * budget.seconds)
        evaluator = SupernetEvaluator(context, training.supernet, self.settings.samples)
        trial = seconds_each(
            lambda i: evaluator(draw(context, SEARCH, i), Fidelity(1)),
            least=2,
            seconds=0.02 * budget.seconds,
        )
        trials = min(self.settings.trials, Budget(SCORING * budget.seconds).fit(trial))
        return {
            "steps": Budget(budget.seconds - trials * trial).fit(each),
            "trials": trials,
        }

    def search(self, context: Context, plan: Plan) -> None:
        """See :meth:`Strategy.search`; a scored path is a record, the first after all training."""
        training = self.training(context, plan["steps"])
        evaluator = SupernetEvaluator(context, training.run(), self.settings.samples)
        if isinstance(context.space, PretrainedSpace):
            context.space.adopt(evaluator.supernet)
        score_paths(
            context,
            evaluator,
            self.proposals(context, training),
            trials=plan["trials"],
            epochs=training.epochs,
        )
        score_randoms(context, evaluator, training.epochs)


def score_paths(
    context: Context,
    evaluator: SupernetEvaluator,
    propose: Proposals,
    *,
    trials: int,
    epochs: int,
) -> list[Record]:
    """Scores what is proposed, a record each; what was recorded before a kill is not scored again.

    The seconds of the shared weights' training count in the first record.

    Args:
        context: Of the run.
        evaluator: Of the trained supernet.
        propose: Called with the records so far whenever all it proposed is scored.
        trials: Records in all.
        epochs: Of the shared weights' training.
    """
    records: list[Record] = []
    known: dict[Architecture, Record] = {}
    waiting: list[Architecture] = []
    goal = context.goal
    with context.reporter.bar("search paths", trials, "trials") as advance:
        while len(records) < trials:
            began = time.perf_counter()
            waiting = waiting or propose(records)
            architecture = waiting.pop(0)
            step = len(records) + 1
            record = context.history.find(SEARCH, step)
            if record is None:
                if architecture in known:
                    metrics = dict(known[architecture].metrics)
                else:
                    metrics = evaluator(architecture, Fidelity(epochs))
                spent = sum(r.seconds for r in context.history.of(TRAINING)) if step == 1 else 0.0
                seconds = spent + time.perf_counter() - began
                detail = {"scored": evaluator.scored}
                record = context.history.add(
                    Record(
                        SEARCH, step, dict(architecture), shared(epochs), metrics, seconds, detail
                    )
                )
            known[architecture] = record
            records.append(record)
            top = max(records, key=lambda r: goal.score(r.metrics)).metrics.get(goal.metric)
            advance(step, f"best {goal.metric} {top or 0:.3f}")
    return records


def score_randoms(context: Context, evaluator: SupernetEvaluator, epochs: int) -> None:
    """Scores, in shared weights, the random architectures that are fully trained later.

    How well these scores rank them, and the winner, is known then.
    """
    for i in range(context.randoms):
        if context.history.find(RANK, i) is None:
            began = time.perf_counter()
            architecture = draw(context, "random", i)
            metrics = evaluator(architecture, Fidelity(epochs))
            seconds = time.perf_counter() - began
            context.history.add(
                Record(RANK, i, dict(architecture), shared(epochs), metrics, seconds)
            )


def shared(epochs: int) -> dict[str, Any]:
    """The fidelity of a record in shared weights."""
    return {**Fidelity(epochs).as_dict(), "supernet": True}
