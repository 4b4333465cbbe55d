"""Full training of a plain network by the task's recipe."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..core.errors import UsageError
from ..core.evaluate import Metrics
from ..core.history import Record
from ..core.seeds import derive, generator, seed_all
from ..core.task import Recipe
from .context import Context
from .loop import Meter, Stateful, learning_rate, run_loop, set_learning_rate
from .score import evaluate, full_precision
from .stream import Stream

TEMPERATURE = 2.0
"""By which scores are divided where a network learns from a teacher."""


class Average:
    """The mean of a network's weights over its last steps, that of one step the less the older.

    It forgets the start, as over n steps it reaches back n / 9 at most (Tarvainen & Valpola 2017,
    arXiv 1703.01780, from whom the mean of weights that teaches is; here it is what is scored).
    Running statistics of norms are averaged too; buffers of whole numbers or with infinities are
    those of the network.

    Args:
        network: On its device.
        reach: Steps that the mean is about, one at least; (1 - 1 / reach) is what a step leaves.
    """

    def __init__(self, network: nn.Module, reach: float) -> None:
        self.reach = max(1.0, reach)
        self.model = AveragedModel(network, use_buffers=True)
        self.copied = [
            i
            for i, buffer in enumerate(network.buffers())
            if not (buffer.is_floating_point() and buffer.isfinite().all())
        ]

    def update(self, network: nn.Module, step: int) -> None:
        """Takes in the weights after a step, which is numbered from 0."""
        kept = min(1 - 1 / self.reach, (1 + step) / (10 + step))
        self.model.multi_avg_fn = get_ema_multi_avg_fn(kept)  # type: ignore[no-untyped-call]
        self.model.update_parameters(network)
        if self.copied:
            kept_buffers, buffers = list(self.network.buffers()), list(network.buffers())
            for i in self.copied:
                kept_buffers[i].copy_(buffers[i])

    @property
    def network(self) -> nn.Module:
        """With the mean weights."""
        network: nn.Module = self.model.module
        return network


class DivergedError(UsageError):
    """A training whose loss was not finite in its first epoch, so that nothing came of it."""


class Best:
    """The weights of the best epoch so far, by its score on the validation split.

    Attributes:
        ended: Whether no epoch can follow, as the loss was no longer finite.
    """

    def __init__(self) -> None:
        self.ended = False
        self.score: list[float] = []
        self.weights: dict[str, Tensor] = {}

    def offer(self, score: tuple[float, float], network: nn.Module) -> None:
        """Keeps a copy of the network's weights if the score is not below the best."""
        if not self.score or list(score) >= self.score:
            self.score = list(score)
            self.weights = copy.deepcopy(network.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"score": self.score, "weights": self.weights, "ended": self.ended}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.score, self.weights = list(state["score"]), dict(state["weights"])
        self.ended = bool(state.get("ended"))


@dataclass
class Trainer:
    """Steps of full training: the recipe's optimizer and schedule, clipping, augmentation.

    Where the context has a teacher, networks learn from it too.

    Args:
        network: Freshly built, on the context's device.
        context: Of the run.
        steps: Steps in all, for the schedule.
        order: Name under which batches and augmentation are drawn, shared by rows that are
            compared, so that all see the same batches.
    """

    network: nn.Module
    context: Context
    steps: int
    order: str

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.network.parameters(), self.context.task.recipe)
        self.stream = full_stream(self.context, self.order)
        self.meter = Meter()
        reach = self.context.task.recipe.average * self.stream.steps_per_epoch
        self.average = Average(self.network, reach) if reach > 0 else None

    def step(self, step: int) -> None:
        """One step of the weights."""
        context, recipe = self.context, self.context.task.recipe
        rate = learning_rate(step, self.steps, recipe.lr, recipe.warmup, recipe.schedule)
        set_learning_rate(self.optimizer, rate)
        set_drop_path = getattr(self.network, "set_drop_path", None)
        if set_drop_path is not None:
            set_drop_path(recipe.drop_path * step / self.steps)
        x, y = augmented(context, self.stream, step, self.order)
        self.network.train()
        with context.accelerator.autocast():
            output = self.network(x)
        output = full_precision(output)
        loss = distilled(training_loss(context, output, y), output, teaching(context, x))
        self.optimizer.zero_grad(set_to_none=True)
        context.accelerator.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.grad_clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.network, step)
        self.meter.add(loss=loss)

    @property
    def scored(self) -> nn.Module:
        """The network, or where the recipe has it the one with mean weights."""
        return self.network if self.average is None else self.average.network

    @property
    def state(self) -> dict[str, Stateful]:
        """For a checkpoint."""
        state: dict[str, Stateful] = {"network": self.network, "optimizer": self.optimizer}
        return state if self.average is None else state | {"average": self.average.model}


def make_optimizer(weights: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of a recipe."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            weights, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    # Norms and biases are not shrunk, as BERT's authors have it.
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for weight in weights:
        (matrices if weight.dim() > 1 else others).append(weight)
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.lr)


@torch.no_grad()
def teaching(context: Context, x: Tensor) -> Tensor | None:
    """What the context's teacher gives for x: [B, outputs] in full precision, or None."""
    if context.teacher is None:
        return None
    with context.accelerator.autocast():
        output: Tensor = context.teacher(x)
    return full_precision(output)


def distilled(loss: Tensor, output: Tensor, target: Tensor | None) -> Tensor:
    """Half a loss and half the distance from a teacher (Hinton et al. 2015, arXiv 1503.02531).

    Args:
        loss: On the labels.
        output: [B, outputs, ...], such as [B, outputs, T] of tokens.
        target: What the teacher gives, of the same shape; the loss stays as it is where None.
    """
    if target is None:
        return loss
    heat = TEMPERATURE
    distance = nn.functional.kl_div(
        (output / heat).log_softmax(1), (target / heat).log_softmax(1), reduction="sum",
        log_target=True,
    ) / places(target)
    return 0.5 * loss + 0.5 * heat**2 * distance


def places(scores: Tensor) -> Tensor:
    """How many places of [B, outputs, ...] have scores; padding has none."""
    return scores.ne(0).any(1).sum().clamp_min(1)


def imitated(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy to the shares that a target's scores give, a mean over all places.

    Args:
        output: [B, outputs, ...].
        target: Scores of the same shape.
    """
    losses = nn.functional.cross_entropy(output, target.softmax(1), reduction="none")
    return (losses * target.ne(0).any(1)).sum() / places(target)


def full_stream(context: Context, order: str) -> Stream:
    """The whole training split, in the order of that name."""
    return Stream(context.task.train, context.batch_size, derive(context.seed, order))


def augmented(context: Context, stream: Stream, step: int, *order: str) -> tuple[Tensor, Tensor]:
    """The training batch of a step, augmented as the names of ``order`` say, on the device."""
    random = generator(context.seed, *order, "augment", step)
    draw = getattr(stream.split, "draw", None)
    x, y = stream.batch(step) if draw is None else draw(stream.at(step), random)
    if context.task.augment is not None:
        x, y = context.task.augment(x, y, random)
    return context.to_device(x, y)


def training_loss(context: Context, output: Tensor, y: Tensor) -> Tensor:
    """The task's loss, with label smoothing where the recipe has it and the loss knows it."""
    smoothing = context.task.recipe.label_smoothing
    if smoothing > 0 and context.task.loss is nn.functional.cross_entropy:
        return nn.functional.cross_entropy(output, y, label_smoothing=smoothing)
    return context.task.loss(output, y)


def train(
    network: nn.Module,
    context: Context,
    *,
    stage: str,
    epochs: float,
    architecture: Mapping[str, Any] | None,
    order: str,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[nn.Module, Metrics]:
    """Trains a network and returns it with the weights of its best epoch on validation.

    Each epoch is a record of the history under ``stage``. The test split is not touched. Where the
    loss is no longer finite, training ends with the epochs before.

    Args:
        network: Freshly built.
        context: Of the run.
        stage: Name of the row and seed.
        epochs: Passes over the training split; the last may be a part of one.
        architecture: For the record; None where the network is not of the space.
        order: See :class:`Trainer`.
        stop: Asked at the start and after each epoch: whether training ends here.

    Returns:
        The network and the validation metrics of the epoch whose weights it has.

    Raises:
        DivergedError: The loss is not finite in the first epoch.
    """
    network.to(context.device)
    per_epoch = full_stream(context, order).steps_per_epoch
    trainer = Trainer(network, context, max(1, round(epochs * per_epoch)), order)
    best = Best()

    def epoch_end(epoch: int) -> str:
        means = trainer.meter.means()
        if not math.isfinite(means["loss"]):
            if epoch == 1:
                raise DivergedError(
                    f"The training loss of {stage!r} is not finite in its first epoch: begin a "
                    "new run with a lower learning rate (--recipe "
                    f"lr={context.task.recipe.lr / 10:g})."
                )
            best.ended = True
            return f"epoch {epoch}: the loss is no longer finite"
        began = time.perf_counter()
        metrics = evaluate(trainer.scored, context.task.val, context)
        best.offer(context.score(metrics), trainer.scored)
        record = context.history.add(
            Record(
                stage=stage,
                step=epoch,
                architecture=architecture,
                fidelity={"epochs": epoch},
                metrics=metrics,
                seconds=trainer.meter.seconds + time.perf_counter() - began,
                detail={"train_loss": means["loss"]},
            )
        )
        return describe(record.metrics, epoch, epochs)

    run_loop(
        stage=stage,
        seed=context.seed,
        steps=trainer.steps,
        steps_per_epoch=per_epoch,
        state={**trainer.state, "best": best},
        step=trainer.step,
        epoch_end=epoch_end,
        meter=trainer.meter,
        path=context.checkpoints / f"{stage}.safetensors",
        reporter=context.reporter,
        stop=lambda: best.ended or stop(),
    )
    if best.ended:
        context.reporter.say(
            f"The training loss of {stage!r} was no longer finite: its best epoch before counts."
        )
    if best.weights:  # none where a kill came between an epoch's record and its checkpoint
        network.load_state_dict(best.weights)
    network.eval()
    records = context.history.of(stage)
    chosen = max(records, key=lambda r: (*context.score(r.metrics), r.step))
    return network, dict(chosen.metrics)


def fresh(context: Context, stage: str) -> None:
    """Sets the generators before a network of a stage is built, so that its start is its own."""
    seed_all(context.seed, stage, "init")


def describe(metrics: Mapping[str, float | None], epoch: int, epochs: float) -> str:
    """A few words for the progress bar."""
    shown = [f"{name} {value:.3f}" for name, value in metrics.items() if value is not None]
    return f"epoch {epoch}/{math.ceil(epochs)}, validation {', '.join(shown[:3])}"
