"""Gradient strategies: architecture parameters and weights are trained in turn."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.budget import Budget
from ..core.errors import UsageError
from ..core.evaluate import Metrics
from ..core.history import SEARCH, Record
from ..core.objective import COST_METRICS, Objective
from ..core.seeds import derive, generator, seed_all
from ..core.space import SearchSpace
from ..core.task import Split
from ..data.splits import halve
from ..evaluation.context import Context
from ..evaluation.loop import Meter, learning_rate, run_loop, set_learning_rate
from ..evaluation.score import costs, evaluate, full_precision
from ..evaluation.stream import Stream
from ..evaluation.timing import seconds_each
from ..evaluation.train import augmented, training_loss
from ..nn.candidates import NORM
from ..nn.cell_space import CellSpace
from ..nn.supernet import Supernet
from .base import Plan, Strategy

SKIPPED = 0.5
"""Share of skip connections in a decode from which a search is called collapsed."""


@dataclass(frozen=True)
class GradientSettings:
    """Hyper-parameters of a gradient search; the defaults are those of Liu et al. 2019.

    Attributes:
        second_order: Whether the architecture step looks one weight step ahead.
        lr: Peak learning rate of the weights.
        lr_end: Learning rate at the end of the cosine.
        momentum: Of the weights' SGD.
        weight_decay: Of the weights.
        grad_clip: Largest norm of the weights' gradient.
        alpha_lr: Learning rate of Adam on the architecture parameters.
        alpha_weight_decay: Weight decay of the architecture parameters.
        epsilon: Length of the central difference of the second order. The published value steps
            over kinks of the ReLUs; in float32 a much smaller one drowns in rounding.
        epochs: Epochs where no budget is given.
    """

    second_order: bool = False
    lr: float = 0.025
    lr_end: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    grad_clip: float = 5.0
    alpha_lr: float = 3e-4
    alpha_weight_decay: float = 1e-3
    epsilon: float = 0.01
    epochs: int = 50


class GradientSearch:
    """The state of one search, and its two steps.

    The training split is halved, stratified by label, and never through a group: weights learn on
    one half, architecture parameters on the other (section 2.3 of the paper).

    Args:
        context: Of the run.
        settings: Hyper-parameters.
        steps: Steps in all, for the schedule.
    """

    def __init__(self, context: Context, settings: GradientSettings, steps: int) -> None:
        self.context, self.settings, self.steps = context, settings, steps
        task = context.task
        seed_all(context.seed, SEARCH, "init")
        self.supernet = cast(Supernet, context.space.supernet(task.input_shape, task.outputs))
        self.supernet.to(context.device)
        self.weights = self.supernet.weight_parameters()
        self.alphas = self.supernet.architecture_parameters()
        self.optimizer = torch.optim.SGD(
            self.weights,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.alpha_optimizer = torch.optim.Adam(
            self.alphas,
            lr=settings.alpha_lr,
            betas=(0.5, 0.999),
            weight_decay=settings.alpha_weight_decay,
        )
        first, self.second = search_halves(context)
        size, seed = context.batch_size, context.seed
        self.train_stream = Stream(task.train, size, derive(seed, SEARCH, "weights"), first)
        self.val_stream = Stream(task.train, size, derive(seed, SEARCH, "alphas"), self.second)
        self.meter = Meter()

    def step(self, step: int) -> None:
        """One architecture step on the second half, then one weight step on the first."""
        rate = self.settings.lr_end + learning_rate(
            step, self.steps, self.settings.lr - self.settings.lr_end, 0.0
        )
        set_learning_rate(self.optimizer, rate)
        x, y = augmented(self.context, self.train_stream, step, f"{SEARCH}/weights")
        x_val, y_val = augmented(self.context, self.val_stream, step, f"{SEARCH}/alphas")
        self.supernet.train()
        val_loss = self._architecture_step(x, y, x_val, y_val, rate)
        train_loss = self._weight_step(x, y)
        self.meter.add(train_loss=train_loss, alpha_loss=val_loss)

    def _loss(self, x: Tensor, y: Tensor, *, exact: bool = False) -> Tensor:
        with nullcontext() if exact else self.context.accelerator.autocast():
            output = self.supernet(x)
        return training_loss(self.context, full_precision(output), y)

    def _weight_step(self, x: Tensor, y: Tensor) -> Tensor:
        with fixed(self.alphas):
            loss = self._loss(x, y)
        # Only the weights: a gradient left in the architecture parameters would be one of
        # training data.
        gradients = torch.autograd.grad(loss, self.weights, allow_unused=True)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        nn.utils.clip_grad_norm_(self.weights, self.settings.grad_clip)
        self.optimizer.step()
        return loss

    def _architecture_step(
        self, x: Tensor, y: Tensor, x_val: Tensor, y_val: Tensor, rate: float
    ) -> Tensor:
        with frozen_statistics(self.supernet):
            if self.settings.second_order:
                loss, gradients = self._unrolled(x, y, x_val, y_val, rate)
            else:
                with fixed(self.weights):
                    loss = self._loss(x_val, y_val)
                gradients = list(torch.autograd.grad(loss, self.alphas))
        for alpha, gradient in zip(self.alphas, gradients, strict=True):
            alpha.grad = gradient
        self.alpha_optimizer.step()
        return loss

    def _unrolled(
        self, x: Tensor, y: Tensor, x_val: Tensor, y_val: Tensor, rate: float
    ) -> tuple[Tensor, list[Tensor]]:
        """Gradient of L_val(w - rate dL_train/dw, alpha) with respect to alpha.

        Equations 6 to 8 of the paper: the product with the mixed second derivative is a central
        difference of first derivatives, so no double backward is needed. The look-ahead step has
        the momentum and weight decay of the optimizer, as in the authors' code. Nothing here runs
        in a half type, in which so small a difference would be noise.
        """
        found = torch.autograd.grad(self._loss(x, y, exact=True), self.weights, allow_unused=True)
        gradients = filled(found, self.weights)
        with torch.no_grad():
            ahead = [
                g + self.settings.weight_decay * w + self.settings.momentum * self._buffer(w)
                for g, w in zip(gradients, self.weights, strict=True)
            ]
        with shifted(self.weights, ahead, -rate):
            loss = self._loss(x_val, y_val, exact=True)
            found = torch.autograd.grad(loss, [*self.alphas, *self.weights], allow_unused=True)
        d_alpha = list(found[: len(self.alphas)])
        vector = filled(found[len(self.alphas) :], self.weights)
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(v) for v in vector]))
        epsilon = self.settings.epsilon / float(norm.clamp_min(1e-12))
        sides = []
        for sign in (epsilon, -epsilon):
            with shifted(self.weights, vector, sign):
                loss_there = self._loss(x, y, exact=True)
                sides.append(torch.autograd.grad(loss_there, self.alphas))
        implicit = [(up - down) / (2 * epsilon) for up, down in zip(*sides, strict=True)]
        return loss, [d - rate * i for d, i in zip(d_alpha, implicit, strict=True)]

    def _buffer(self, weight: nn.Parameter) -> Tensor:
        buffer = self.optimizer.state[weight].get("momentum_buffer")
        return torch.zeros_like(weight) if buffer is None else buffer

    def score(self) -> Metrics:
        """The task's metrics of the whole supernet on the second half."""
        return evaluate(self.supernet, self.context.task.train, self.context, self.second)


class Gradient(Strategy):
    """A gradient strategy: a supernet, its settings, and a decode at each epoch's end.

    Args:
        name: Registered name.
        settings: Hyper-parameters.
    """

    needs_supernet = True
    keeps_limits = False
    goals = 1
    units = ("epochs", "steps")

    def __init__(self, name: str, settings: GradientSettings) -> None:
        super().__init__(name)
        self.settings = settings
        self.usual = f"epochs={settings.epochs}"

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """See :meth:`Strategy.check`; a cost alone gives a supernet nothing to learn from."""
        super().check(space, objectives)
        if not space.mixes:
            raise UsageError(
                f"The strategy {self.name!r} trains architecture parameters, which the supernet "
                f"of the space {space.name!r} does not have: use --strategy random."
            )
        if objectives[0].metric in COST_METRICS:
            raise UsageError(
                f"The strategy {self.name!r} cannot make {objectives[0].metric!r} its goal: name "
                "a metric of the task, or use --strategy random."
            )

    def plan(self, context: Context, budget: Budget) -> Plan:
        """Steps for a time, or for ``epochs=N`` or ``steps=N``; see :meth:`Strategy.plan`."""
        counts = budget.only(*self.units)
        if len(counts) > 1:
            raise UsageError(f"The budget {budget.text!r} names epochs and steps: name one.")
        trial = GradientSearch(context, self.settings, steps=10**6)
        per_epoch = trial.train_stream.steps_per_epoch
        if budget.seconds is None:
            return {"steps": counts.get("steps", counts.get("epochs", 0) * per_epoch)}
        each = seconds_each(trial.step, seconds=0.04 * budget.seconds)
        began = time.perf_counter()
        trial.score()
        self._costs(context, trial)
        each += (time.perf_counter() - began) / per_epoch
        return {"steps": budget.fit(each)}

    def search(self, context: Context, plan: Plan) -> None:
        """See :meth:`Strategy.search`; an epoch's decode is a record, with its weights."""
        search = GradientSearch(context, self.settings, plan["steps"])
        per_epoch = search.train_stream.steps_per_epoch

        def epoch_end(epoch: int) -> str:
            began = time.perf_counter()
            means = search.meter.means()
            if not all(map(math.isfinite, means.values())):
                raise UsageError(
                    f"The loss of the search is no longer finite in epoch {epoch}: look at the "
                    "scale of the inputs."
                )
            architecture = search.supernet.decode()
            metrics = search.score() | self._costs(context, search)
            seconds = search.meter.seconds + time.perf_counter() - began
            strengths = search.supernet.strengths()
            detail = {
                **means,
                "weights": {kind: s.tolist() for kind, s in strengths.items()},
            }
            fidelity = {"epochs": epoch, "supernet": True}
            record = context.history.add(
                Record(SEARCH, epoch, dict(architecture), fidelity, metrics, seconds, detail)
            )
            goal = context.goal.metric
            return f"epoch {epoch}, supernet {goal} {record.metrics.get(goal) or 0:.3f}"

        run_loop(
            stage=SEARCH,
            seed=context.seed,
            steps=plan["steps"],
            steps_per_epoch=per_epoch,
            state={
                "supernet": search.supernet,
                "optimizer": search.optimizer,
                "alpha_optimizer": search.alpha_optimizer,
            },
            step=search.step,
            epoch_end=epoch_end,
            meter=search.meter,
            path=context.checkpoints / f"{SEARCH}.safetensors",
            reporter=context.reporter,
        )
        self._warn(context)

    def _warn(self, context: Context) -> None:
        """Says where the last decode is mostly skip connections, as DARTS' decodes may become."""
        space = cast(CellSpace, context.space)
        last = context.history.of(SEARCH)[-1].architecture or {}
        cells = space.genotype(space.architecture(last)).values()
        names = [name for edges in cells for name in edges.values()]
        if names.count("skip_connect") >= SKIPPED * len(names):
            context.reporter.say(
                f"{names.count('skip_connect')} of the last decode's {len(names)} edges are skip "
                "connections: the search may have collapsed, as DARTS as published does; compare "
                "with --strategy random, or give it fewer epochs."
            )

    def _costs(self, context: Context, search: GradientSearch) -> Metrics:
        task = context.task
        network = context.space.build(search.supernet.decode(), task.input_shape, task.outputs)
        return costs(network, task.input_shape, latency=False)


def search_halves(context: Context) -> tuple[list[int], list[int]]:
    """The training split in two halves, the same for every strategy of a run."""
    split = context.task.train
    labels = _labels(split)
    if labels is not None:
        first, second = halve(labels, context.seed, getattr(split, "groups", None))
        return [int(i) for i in first], [int(i) for i in second]
    order = torch.randperm(len(split), generator=generator(context.seed, "halves")).tolist()
    middle = (len(order) + 1) // 2
    return order[:middle], order[middle:] or order


def _labels(split: Split) -> Any:
    """The label of each sample, or None where there are none to stratify by."""
    labels = getattr(split, "labels", None)
    if labels is not None and len(labels) == len(split):
        return labels
    try:
        return [int(split[i][1]) for i in range(len(split))]
    except (TypeError, ValueError, RuntimeError):
        return None


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Batch statistics are used and none are recorded: those of the weight step alone count."""
    norms: list[Any] = [m for m in network.modules() if isinstance(m, tuple(NORM.values()))]
    tracked = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, was in zip(norms, tracked, strict=True):
            norm.track_running_stats = was


@contextmanager
def fixed(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Parameters that need no gradient, so that an op that could compute one does not."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def shifted(
    weights: Sequence[Tensor], direction: Sequence[Tensor], scale: float
) -> Iterator[None]:
    """The weights moved by scale x direction within a block, and put back bit for bit."""
    with torch.no_grad():
        before = [w.clone() for w in weights]
        for w, d in zip(weights, direction, strict=True):
            w.add_(d, alpha=scale)
    try:
        yield
    finally:
        with torch.no_grad():
            for w, b in zip(weights, before, strict=True):
                w.copy_(b)


def filled(gradients: Sequence[Tensor | None], weights: Sequence[Tensor]) -> list[Tensor]:
    """Gradients with zeros for weights that were not used."""
    return [
        torch.zeros_like(w) if g is None else g for g, w in zip(gradients, weights, strict=True)
    ]
