"""ENAS: a controller proposes paths and learns from their rewards while they share weights."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ..core.architecture import Architecture, Option
from ..core.errors import UsageError
from ..core.history import SEARCH, Record
from ..core.objective import COST_METRICS, Objective
from ..core.seeds import derive, generator
from ..core.space import SearchSpace
from ..evaluation.context import Context
from ..evaluation.loop import Stateful
from ..evaluation.stream import Stream
from ..evaluation.supernet import kept_statistics
from .oneshot import OneShot, OneShotSettings, PathTraining, Proposals

TRIES = 20
"""Draws of the controller for one that is wanted, before a uniform one is taken."""


@dataclass(frozen=True)
class ControllerSettings:
    """Hyper-parameters of the controller; the defaults are those of Pham et al. 2018.

    Attributes:
        hidden: Units of the LSTM.
        lr: Learning rate of Adam.
        tanh: Bound of a logit: it keeps the first choices from being the last.
        entropy: Weight of a path's entropy in its reward.
        decay: Of the moving average of rewards, the baseline.
        draws: Paths of a controller step, over which its gradient is a mean.
    """

    hidden: int = 100
    lr: float = 0.0035
    tanh: float = 1.1
    entropy: float = 1e-4
    decay: float = 0.99
    draws: int = 10


@dataclass(frozen=True)
class Drawn:
    """A path that the controller drew.

    Attributes:
        architecture: The path.
        log_probability: Scalar, differentiable.
        entropy: Of the choices made, summed; scalar, detached.
    """

    architecture: Architecture
    log_probability: Tensor
    entropy: Tensor


class Controller(nn.Module):
    """An LSTM that goes through the choices of a space and draws an option for each.

    Its input at a choice is an embedding of the option drawn before. Choices that others switch
    off are passed over. It runs on the CPU.

    Args:
        space: The space.
        settings: Hyper-parameters.
    """

    def __init__(self, space: SearchSpace, settings: ControllerSettings) -> None:
        super().__init__()
        self.space, self.settings = space, settings
        hidden = settings.hidden
        self.cell = nn.LSTMCell(hidden, hidden)
        self.start = nn.Parameter(torch.empty(1, hidden))
        sizes = [len(choice.options) for choice in space.choices]
        self.embeddings = nn.ModuleList(nn.Embedding(size, hidden) for size in sizes)
        self.heads = nn.ModuleList(nn.Linear(hidden, size) for size in sizes)
        self.baseline: Tensor
        # Not a number until the first rewards are in.
        self.register_buffer("baseline", torch.tensor(float("nan")))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(self, random: torch.Generator) -> Drawn:
        """Draws a path.

        Args:
            random: A CPU generator, which moves on.
        """
        x, state = self.start, None
        chosen: dict[str, Option] = {}
        log_probability = entropy = torch.zeros(())
        parts = zip(self.space.choices, self.embeddings, self.heads, strict=True)
        for choice, embedding, head in parts:
            if choice.parent is not None and chosen.get(choice.parent) not in choice.when:
                continue
            state = self.cell(x, state)
            logits = self.settings.tanh * torch.tanh(head(state[0])[0])
            logs = logits.log_softmax(0)
            option = torch.multinomial(logs.detach().exp(), 1, generator=random)
            chosen[choice.name] = choice.options[int(option)]
            log_probability = log_probability + logs[option[0]]
            entropy = entropy - (logs.detach().exp() * logs.detach()).sum()
            x = embedding(option)
        return Drawn(self.space.complete(chosen, None), log_probability, entropy)

    def loss(self, drawn: Sequence[Drawn], rewards: Sequence[float]) -> Tensor | None:
        """-(reward - baseline) log p, a mean over paths; moves the baseline.

        A path that breaks a limit counts as one below the baseline: as far as a metric that is a
        fraction can be.

        Args:
            drawn: Paths.
            rewards: One for each; minus infinity for a broken limit, NaN for none.

        Returns:
            A scalar; None where no path has a reward.
        """
        weight, decay = self.settings.entropy, self.settings.decay
        terms: list[Tensor] = []
        for path, reward in zip(drawn, rewards, strict=True):
            if reward == -math.inf:
                terms.append(path.log_probability)
            elif math.isfinite(reward):
                value = reward + weight * path.entropy
                moved = decay * self.baseline + (1 - decay) * value
                self.baseline.copy_(value if self.baseline.isnan() else moved)
                terms.append(-(value - self.baseline) * path.log_probability)
        return torch.stack(terms).sum() / len(drawn) if terms else None


class EnasTraining(PathTraining):
    """A weight step on the first half, then a controller step on the second.

    The paper goes through all data before it turns to the controller; here they alternate by step,
    as in DARTS, so that any number of steps trains both.

    Args:
        context: Of the run.
        settings: Of the shared weights.
        controller: Of the controller.
        steps: Steps in all.
    """

    def __init__(
        self,
        context: Context,
        settings: OneShotSettings,
        controller: ControllerSettings,
        steps: int,
    ) -> None:
        super().__init__(context, settings, steps)
        self.controller = Controller(context.space, controller)
        self.controller_optimizer = torch.optim.Adam(self.controller.parameters(), controller.lr)
        seed = derive(context.seed, SEARCH, "controller")
        self.rewards = Stream(self.scored, context.batch_size, seed, self.indices)

    def state(self) -> dict[str, Stateful]:
        """See :meth:`PathTraining.state`."""
        own = {"controller": self.controller, "controller_optimizer": self.controller_optimizer}
        return super().state() | cast(dict[str, Stateful], own)

    def paths(self, step: int) -> list[Architecture]:
        """The one path of a step, of the controller."""
        return [self.draw("path", step)]

    def draw(self, place: str, number: int, but: Collection[Architecture] = ()) -> Architecture:
        """Draws a path that keeps the limits on counted costs.

        Args:
            place: What it is drawn for.
            number: Number within the place.
            but: Paths that are drawn only where no other is found.

        Raises:
            UsageError: No architecture keeps the limits.
        """
        random = generator(self.context.seed, SEARCH, place, number)
        kept: Architecture | None = None
        with torch.no_grad():
            for _ in range(TRIES):
                architecture = self.controller(random).architecture
                if self.limit is None or self.limit.allows(architecture):
                    kept = architecture
                    if architecture not in but:
                        break
        if kept is not None:
            return kept
        rng = np.random.default_rng(derive(self.context.seed, SEARCH, place, number))
        return self.context.space.sample(1, rng, self.limit)[0]

    def step(self, step: int) -> None:
        """See :meth:`PathTraining.step`."""
        loss = self.weight_step(step)
        self.controller_step(step)
        self.meter.add(train_loss=loss, reward=self.controller.baseline.nan_to_num())

    def controller_step(self, step: int) -> None:
        """A step of REINFORCE (Williams 1992) on a batch of the second half."""
        x, y = self.context.to_device(*self.rewards.batch(step))
        random = generator(self.context.seed, SEARCH, "controller", step)
        drawn = [self.controller(random) for _ in range(self.controller.settings.draws)]
        # Norms use the batch's statistics, as those that training left behind are of other paths,
        # and the batch leaves none behind.
        with kept_statistics(self.supernet):
            rewards = [self.reward(path.architecture, x, y) for path in drawn]
        loss = self.controller.loss(drawn, rewards)
        if loss is not None:
            self.controller_optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.controller_optimizer.step()

    @torch.no_grad()
    def reward(self, path: Architecture, x: Tensor, y: Tensor) -> float:
        """The goal's score of a path on a batch.

        Args:
            path: The path.
            x: [B, ...].
            y: [B, ...].

        Returns:
            The score; minus infinity where a limit is broken, NaN where the metric is not defined
            on the batch.
        """
        if self.limit is not None and not self.limit.allows(path):
            return -math.inf
        output, goal = self.output(path, x), self.context.goal
        if goal.metric == "loss":
            value = float(self.context.task.loss(output, y))
        else:
            metric = self.context.task.metrics[goal.metric].clone()
            metric.update(output.cpu(), y.cpu())
            value = float(metric.compute())
        return value if goal.direction == "max" else -value


class Enas(OneShot):
    """Trains a controller along with the shared weights, then scores paths that it draws.

    Args:
        name: Registered name.
        settings: Of the shared weights.
        controller: Of the controller.
    """

    goals = 1

    def __init__(
        self, name: str, settings: OneShotSettings, controller: ControllerSettings
    ) -> None:
        super().__init__(name, settings)
        self.controller = controller

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """See :meth:`Strategy.check`; the reward is a metric of the task."""
        super().check(space, objectives)
        if objectives[0].metric in COST_METRICS:
            raise UsageError(
                f"The strategy {self.name!r} cannot make {objectives[0].metric!r} its goal: name "
                "a metric of the task, or use --strategy random."
            )

    def training(self, context: Context, steps: int) -> PathTraining:
        """See :meth:`OneShot.training`."""
        return EnasTraining(context, self.settings, self.controller, steps)

    def proposals(self, context: Context, training: PathTraining) -> Proposals:
        """Draws of the trained controller, new ones as long as it finds any."""
        assert isinstance(training, EnasTraining)

        def propose(scored: Sequence[Record]) -> list[Architecture]:
            seen = {context.space.architecture(r.architecture or {}) for r in scored}
            return [training.draw("trial", len(scored), seen)]

        return propose
