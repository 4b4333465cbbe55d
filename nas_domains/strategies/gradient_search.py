"""The state of a gradient search, and its steps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.architecture import Architecture
from ..core.evaluate import Metrics
from ..core.history import SEARCH
from ..core.seeds import derive, generator, seed_all
from ..evaluation.context import Context
from ..evaluation.halves import search_halves
from ..evaluation.loop import Meter, Stateful, learning_rate, set_learning_rate
from ..evaluation.score import evaluate, full_precision
from ..evaluation.stream import Stream
from ..evaluation.supernet import kept_statistics, recalibrate
from ..evaluation.train import augmented, make_optimizer, training_loss
from ..nn.candidates import NORM
from ..nn.growth import embedded, grow
from ..nn.supernet import Supernet
from .limits import limited
from .parts.regularisers import ExpectedCost, Regulariser
from .parts.selection import decode_within
from .parts.stop import dominant_eigenvalue
from .settings import GradientSettings

__all__ = ["GradientSearch", "filled", "fixed", "frozen_statistics", "shifted"]


class GradientSearch:
    """The state of one search, and its steps.

    The training split is halved, stratified by label, and never through a group: weights learn on
    one half, architecture parameters on the other (Liu et al. 2019, section 2.3).

    Args:
        context: Of the run.
        settings: Parts and hyper-parameters.
        steps: Steps in all, for the schedule.
    """

    def __init__(self, context: Context, settings: GradientSettings, steps: int) -> None:
        self.context, self.settings, self.steps = context, settings, steps
        task, space = context.task, context.space
        options: dict[str, Any] = {}
        if settings.partial > 1:
            options["partial"] = settings.partial
        if settings.edge_weights:
            options["edge_weights"] = True
        seed_all(context.seed, SEARCH, "init")
        self.supernet = cast(Supernet, space.supernet(task.input_shape, task.outputs, **options))
        self.supernet.relaxation = settings.relaxation()
        self.supernet.to(context.device)
        self.partial = settings.partial
        self.weights = self.supernet.weight_parameters()
        self.alphas = self.supernet.architecture_parameters()
        self.at = 0
        self.optimizer = self._weight_optimizer()
        self.alpha_optimizer = torch.optim.Adam(
            self.alphas,
            lr=settings.alpha_lr
            if settings.alpha_travel is None
            else settings.alpha_travel / steps,
            betas=settings.alpha_betas,
            weight_decay=settings.alpha_weight_decay,
        )
        first, self.second = search_halves(context)
        size, seed = context.batch_size, context.seed
        self.train_stream = Stream(task.train, size, derive(seed, SEARCH, "weights"), first)
        self.val_stream = Stream(task.train, size, derive(seed, SEARCH, "alphas"), self.second)
        self.meter = Meter()
        # Batches on which the statistics of a path are measured before it is scored.
        self.measured = min(8, self.train_stream.steps_per_epoch)
        limits = [o for o in context.objectives if o.limit is not None]
        self.limit, self.rows = limited(context)
        self.regularisers: list[Regulariser] = list(settings.regularisers)
        if limits:
            self.regularisers.append(ExpectedCost(self.rows, limits))

    def _weight_optimizer(self) -> torch.optim.Optimizer:
        s = self.settings
        if self.context.space.by_recipe:
            return make_optimizer(self.weights, self.context.task.recipe)
        return torch.optim.SGD(
            self.weights, lr=s.lr, momentum=s.momentum, weight_decay=s.weight_decay
        )

    def step(self, step: int) -> None:
        """One architecture step on the second half, then one weight step on the first."""
        settings, share = self.settings, step / self.steps
        self.at = step
        self.advance(share)
        for at, shares in settings.grow:
            if step == int(at * self.steps):
                self._grow(shares)
        for at, candidates in settings.shrink:
            if step == int(at * self.steps):
                self._shrink(candidates)
        # Behind what grows, which has a new optimizer.
        rate = self._rate(step)
        set_learning_rate(self.optimizer, rate)
        x, y = augmented(self.context, self.train_stream, step, f"{SEARCH}/weights")
        x_val, y_val = augmented(self.context, self.val_stream, step, f"{SEARCH}/alphas")
        self.supernet.train()
        values: dict[str, Tensor] = {}
        if share >= settings.warmup:
            values["alpha_loss"] = self._architecture_step(x, y, x_val, y_val, rate, share)
        values["train_loss"] = self._weight_step(x, y)
        self.meter.add(**values)

    def _rate(self, step: int) -> float:
        """The learning rate of the weights at a step."""
        s, recipe = self.settings, self.context.task.recipe
        if self.context.space.by_recipe:
            return learning_rate(step, self.steps, recipe.lr, recipe.warmup, recipe.schedule)
        return s.lr_end + learning_rate(step, self.steps, s.lr - s.lr_end, 0.0)

    def advance(self, share: float) -> None:
        """Sets what depends on how much of the search is done, 0 to 1."""
        self.supernet.relaxation.advance(share)
        if self.settings.auxiliary:
            for edge in self.supernet.mixed_operations():
                edge.auxiliary = 1 - share

    def weight_step(self, step: int) -> None:
        """A weight step alone, at the last learning rate; for what follows the search."""
        x, y = augmented(self.context, self.train_stream, step, f"{SEARCH}/weights")
        self.supernet.train()
        self._weight_step(x, y)

    def _loss(self, x: Tensor, y: Tensor, *, exact: bool = False) -> Tensor:
        with nullcontext() if exact else self.context.accelerator.autocast():
            output = self.supernet(x)
        return training_loss(self.context, full_precision(output), y)

    def _weight_step(self, x: Tensor, y: Tensor) -> Tensor:
        self.supernet.architecture_step = False
        with fixed(self.alphas):
            loss = self._loss(x, y)
        # Only the weights: a gradient left in the architecture parameters would be one of
        # training data.
        gradients = torch.autograd.grad(loss, self.weights, allow_unused=True)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        by_recipe = self.context.space.by_recipe
        clip = self.context.task.recipe.grad_clip if by_recipe else self.settings.grad_clip
        nn.utils.clip_grad_norm_(self.weights, clip)
        self.optimizer.step()
        return loss

    def _architecture_step(
        self, x: Tensor, y: Tensor, x_val: Tensor, y_val: Tensor, rate: float, share: float = 0.0
    ) -> Tensor:
        self.supernet.architecture_step = True
        with frozen_statistics(self.supernet):
            if self.settings.second_order:
                loss, gradients = self._unrolled(x, y, x_val, y_val, rate)
            else:
                with fixed(self.weights):
                    loss = self._loss(x_val, y_val)
                gradients = filled(
                    torch.autograd.grad(loss, self.alphas, allow_unused=True), self.alphas
                )
        for alpha, gradient in zip(self.alphas, gradients, strict=True):
            alpha.grad = gradient
        if self.regularisers:
            penalty = sum((r(self.supernet, share) for r in self.regularisers), torch.zeros(()))
            torch.autograd.backward(penalty)  # adds to what the loss gave
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
            # Both sides drop out the same: else their difference would be noise.
            seed_all(self.context.seed, SEARCH, "sides", self.at)
            with shifted(self.weights, vector, sign):
                loss_there = self._loss(x, y, exact=True)
                sides.append(torch.autograd.grad(loss_there, self.alphas))
        implicit = [(up - down) / (2 * epsilon) for up, down in zip(*sides, strict=True)]
        return loss, [d - rate * i for d, i in zip(d_alpha, implicit, strict=True)]

    def _buffer(self, weight: nn.Parameter) -> Tensor:
        buffer = self.optimizer.state[weight].get("momentum_buffer")
        return torch.zeros_like(weight) if buffer is None else buffer

    def state(self) -> dict[str, Stateful]:
        """What a checkpoint keeps."""
        return {"search": self}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "partial": self.partial,
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint; the supernet is first grown to the size that it had there."""
        if state["partial"] < self.partial:
            self._grow(state["partial"])
        self.supernet.load_state_dict(state["supernet"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])

    def decode(self, strengths: Mapping[str, Tensor] | None = None) -> Architecture:
        """The architecture that weights speak for, among those that keep the limits.

        Args:
            strengths: The weights, kind -> [E, K]; the supernet's where None.
        """
        space: Any = self.context.space
        if self.limit is None:
            return self.supernet.decode() if strengths is None else space.decode(strengths)
        given = self.supernet.strengths() if strengths is None else strengths
        return decode_within(space, given, self.limit, self.rows)

    def score(
        self, architecture: Architecture | None = None, *, indices: list[int] | None = None
    ) -> Metrics:
        """The task's metrics on the second half, or on a part of it.

        Of the whole supernet; of one path alone where the relaxation trains paths.

        Args:
            architecture: That path.
            indices: The samples that count.
        """
        split, judged = self.context.task.train, indices or self.second
        if not self.supernet.relaxation.samples or architecture is None:
            return evaluate(self.supernet, split, self.context, judged)
        self.supernet.set_architecture(architecture)
        try:
            # The running statistics are those of all paths together.
            with kept_statistics(self.supernet):
                batches = (self.train_stream.batch(i) for i in range(self.measured))
                recalibrate(self.supernet, (self.context.to_device(*b)[0] for b in batches))
                return evaluate(self.supernet, split, self.context, judged)
        finally:
            self.supernet.set_architecture(None)

    def eigenvalue(self, epoch: int) -> float:
        """The dominant eigenvalue of the validation loss in the architecture parameters.

        Of one batch of the second half, the same at each difference.
        """
        x, y = augmented(self.context, self.val_stream, epoch, f"{SEARCH}/eigenvalue")
        self.supernet.train()
        self.supernet.architecture_step = True

        def gradient() -> list[Tensor]:
            # What a relaxation draws is the same each time too.
            seed_all(self.context.seed, SEARCH, "eigenvalue", epoch)
            with fixed(self.weights):
                loss = self._loss(x, y, exact=True)
            return filled(torch.autograd.grad(loss, self.alphas, allow_unused=True), self.alphas)

        with frozen_statistics(self.supernet):
            return dominant_eigenvalue(
                gradient, self.alphas, generator(self.context.seed, SEARCH, "direction", epoch)
            )

    def _grow(self, shares: int) -> None:
        """Cuts the channels into so many shares only; momentum goes over with its weights."""
        replaced, before = grow(self.supernet, shares), self.optimizer
        self.partial = shares
        self.weights = self.supernet.weight_parameters()
        self.optimizer = self._weight_optimizer()
        place = {new: old for old, new in replaced.items()}
        for weight in self.weights:
            momentum = before.state[place.get(weight, weight)].get("momentum_buffer")
            if momentum is not None:
                grown = embedded(momentum, torch.zeros_like(weight))
                self.optimizer.state[weight]["momentum_buffer"] = grown

    def _shrink(self, candidates: int) -> None:
        """Drops all but so many candidates of each edge, those of the largest weights."""
        for kind in self.supernet.alphas:
            expected = self.supernet.relaxation.expected(self.supernet.parameters_of(kind))
            kept = expected.topk(min(candidates, expected.shape[1]), dim=1).indices
            dropped = torch.ones_like(expected, dtype=torch.bool).scatter(1, kept, False)
            self.supernet.dropped.set(kind, dropped | self.supernet.dropped[kind])


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
