"""Selection by trying out: whether a network learns quickly, and how much it can tell apart."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..core.architecture import Architecture
from ..core.errors import UsageError
from ..core.evaluate import Metrics
from ..core.history import SEARCH, Record
from ..core.limit import Limit
from ..core.seeds import derive, seed_all
from ..evaluation.context import Context
from ..evaluation.halves import search_halves
from ..evaluation.loop import set_learning_rate
from ..evaluation.proxies.naswot import NasWot
from ..evaluation.score import costs, evaluate, full_precision
from ..evaluation.select import choose
from ..evaluation.stream import Stream
from ..evaluation.train import augmented, make_optimizer, training_loss
from .base import Plan
from .samplers.base import Observation
from .samplers.bayes import Bayes

__all__ = ["FINAL", "TRIED", "TryOut", "choose_tried", "standing", "tried_of"]

WEIGHTS = 2.0, 2.0, 1.0
"""Of trainability, expressivity and complexity; set by hand, looking at the 12-epoch validation
accuracy of NAS-Bench-201's cells."""

MOST = 4.0
"""Standard deviations beyond which a count is no better, or no worse."""

FAILED = 1e8
"""Size of a count from which on it is that of a network that cannot be used."""

TRIED, FINAL = "try-out", "try-out final"
"""What the fidelity of such a record names as its selection."""


class TryOut:
    """Short trainings, from scratch, of what a gradient search has found and of what lies near.

    A supernet cannot tell what depth does: it is shallower than the network trained in the end,
    and trains all candidates at once. So the last word is that of networks of full depth, at the
    supernet's width, on three counts, as in AZ-NAS (Lee & Ham 2024, arXiv 2403.19232) and TE-NAS
    (Chen et al. 2021, arXiv 2102.11535):

    - *trainability*: the mean training loss of the last two thirds of a few dozen steps (the
      training speed of Ru et al. 2021, arXiv 2006.04492). Cells that are hard to train lose here,
      such as deep ones without skip connections.
    - *expressivity*: naswot (Mellor et al. 2021, arXiv 2006.04647), of the untrained network.
      Cells that learn quickly because they can do little lose here.
    - *complexity*: the logarithm of the multiply-accumulates. Short trainings flatter what is
      small, as a long one does not.

    Each counts in standard deviations of uniform draws, which are tried first; a weighted sum
    decides. Then come the distinct decodes of the search, the latest before the others; then what
    Bayesian optimisation proposes. The best of all are trained again, for longer, as in successive
    halving (Jamieson & Talwalkar 2016, arXiv 1502.07943).

    Args:
        context: Of the run.
        decodes: Architectures to begin with, the best last.
    """

    STEPS = 40
    """Steps of a short training."""
    TRIALS = 48
    """Architectures that are tried where the budget names none."""
    DRAWS = 12
    """Uniform draws that are tried, of at most a third of the trials."""
    DECODES = 6
    """Decodes that are tried at most."""
    FINALS = 8
    """Of how many of the best the longer training decides, of at most a quarter of the trials."""
    LONGER = 4
    """How many times longer that is."""
    JUDGED = 256
    """Samples of the validation half that a short training is scored on at most."""

    def __init__(self, context: Context, decodes: Sequence[Architecture]) -> None:
        self.context = context
        self.decodes = list(dict.fromkeys(reversed(list(decodes))))[: self.DECODES]
        first, second = search_halves(context)
        seed = derive(context.seed, SEARCH, TRIED)
        self.stream = Stream(context.task.train, context.batch_size, seed, first)
        self.judged = second[: self.JUDGED]
        limits = [o for o in context.objectives if o.limit is not None]
        self.latency = any(o.metric == "latency_ms" for o in limits)

    def seconds(self, architecture: Architecture) -> float:
        """About how long one try takes."""
        began = time.perf_counter()
        self.score(architecture, 8)
        early = time.perf_counter()
        self.score(architecture, 4)
        late = time.perf_counter()
        each = max((early - began) - (late - early), 1e-3) / 4
        return late - early + each * (self.STEPS - 4)

    @classmethod
    def plan(cls, trials: int) -> Plan:
        """What :meth:`run` is told, for so many trials."""
        return {"trials": trials, "trial_steps": cls.STEPS}

    @classmethod
    def fit(cls, tries: float) -> int:
        """How many trials, with their finals, cost as much as so many tries."""
        return max(1, round(max(tries / (1 + cls.LONGER / 4), tries - cls.LONGER * cls.FINALS)))

    def run(self, plan: Plan, limit: Limit | None, done: int) -> None:
        """Tries ``plan["trials"]`` architectures; goes on where a kill left it.

        Args:
            plan: Of the run.
            limit: What all keep, or None.
            done: Records of the search that stand before the first of these.
        """
        history, trials, steps = self.context.history, plan["trials"], plan["trial_steps"]
        draws = min(self.DRAWS, trials // 3)
        with self.context.reporter.bar(TRIED, trials, "trials") as advance:
            for number in range(trials):
                known = history.find(SEARCH, done + number + 1)
                if known is not None and not tried_of([known]):
                    break  # a final: before a kill there was no more to try
                if known is None:
                    drawn = number < draws
                    architecture = self._next(tried_of(history.of(SEARCH)), number, drawn, limit)
                    if architecture is None:
                        break
                    self._try(architecture, done + number + 1, steps, drawn=drawn)
                advance(number + 1)
        tried = tried_of(history.of(SEARCH))
        marks = standing(tried, tried)
        fit = [i for i, r in enumerate(tried) if self.context.allows(r.metrics)]
        fit.sort(key=lambda i: (-marks[i], i))
        finals = fit[: min(self.FINALS, trials // 4)]
        with self.context.reporter.bar(FINAL, len(finals), "trials") as advance:
            for number, i in enumerate(finals):
                step = done + len(tried) + number + 1
                if history.find(SEARCH, step) is None:
                    architecture = self.context.space.architecture(tried[i].architecture or {})
                    self._try(architecture, step, self.LONGER * steps, drawn=False, name=FINAL)
                advance(number + 1)

    def _next(
        self, tried: Sequence[Record], number: int, drawn: bool, limit: Limit | None
    ) -> Architecture | None:
        """The next architecture that was not tried, or None where none was found."""
        space = self.context.space
        rng = np.random.default_rng(derive(self.context.seed, SEARCH, TRIED, number))
        known = [space.architecture(r.architecture or {}) for r in tried]
        if not drawn:
            for decode in self.decodes:
                if decode not in known:
                    return decode
            marks = standing(tried, tried)
            seen = [
                Observation(i, architecture, (mark,))
                for i, (architecture, mark) in enumerate(zip(known, marks, strict=True))
            ]
            proposed = Bayes(space, limit=limit, starts=2).propose(seen, rng)
            return None if proposed in known else proposed
        for _ in range(100):
            architecture = space.sample(1, rng, limit)[0]
            if architecture not in known:
                return architecture
        return None

    def _try(
        self, architecture: Architecture, step: int, steps: int, *, drawn: bool, name: str = TRIED
    ) -> None:
        began = time.perf_counter()
        metrics, detail = self.score(architecture, steps)
        seconds = time.perf_counter() - began
        fidelity = {"epochs": 1, "steps": steps, "selection": name, "drawn": drawn}
        self.context.history.add(
            Record(SEARCH, step, dict(architecture), fidelity, metrics, seconds, detail)
        )

    def score(self, architecture: Architecture, steps: int) -> tuple[Metrics, dict[str, Any]]:
        """Metrics after a short training, with the final network's costs; the two other counts.

        Args:
            architecture: What is tried.
            steps: Of the training.
        """
        context, task = self.context, self.context.task
        seed_all(context.seed, SEARCH, TRIED, "init")
        network = context.space.slim(architecture, task.input_shape, task.outputs)
        network.to(context.device)
        x, y = context.to_device(*self.stream.batch(0))
        try:
            expressivity = NasWot()(network, x, y, task.loss)
        except UsageError:  # a single sample, or no activation that it knows: it does not count
            expressivity = -math.inf
        losses = self._train(network, steps)
        metrics = evaluate(network, task.train, context, self.judged)
        final = context.space.build(architecture, task.input_shape, task.outputs)
        metrics |= costs(final.to(context.device), task, latency=self.latency)
        shares = {"parameter_free": context.space.parameter_free(architecture)}
        mean = float(np.mean(losses[steps // 3 :]))
        # A degenerate network has an infinite one, which no record holds.
        rich = max(expressivity, -10 * FAILED)
        return metrics, {"early_loss": mean, "expressivity": rich, **shares}

    def _train(self, network: nn.Module, steps: int) -> list[float]:
        """The loss of each step; all architectures see the same batches."""
        context, recipe = self.context, self.context.task.recipe
        optimizer = make_optimizer(network.parameters(), recipe)
        losses = []
        network.train()
        for step in range(steps):
            x, y = augmented(context, self.stream, step, SEARCH, TRIED)
            set_learning_rate(optimizer, recipe.lr * min(1.0, 4 * (step + 1) / steps))
            with context.accelerator.autocast():
                output = network(x)
            loss = training_loss(context, full_precision(output), y)
            optimizer.zero_grad(set_to_none=True)
            context.accelerator.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), recipe.grad_clip)
            optimizer.step()
            losses.append(loss.detach())
        failed = 10 * FAILED
        found = torch.stack(losses).float().nan_to_num(nan=failed, posinf=failed)
        return [float(v) for v in found]


def tried_of(records: Sequence[Record], name: str = TRIED) -> list[Record]:
    """The records of architectures that were tried out, or of the finals."""
    return [r for r in records if r.fidelity.get("selection") == name]


def choose_tried(context: Context, records: Sequence[Record]) -> Record:
    """The record that stands best in the finals, or among all tried where there were none.

    Raises:
        UsageError: None keeps the limits.
    """
    tried = tried_of(records)
    last = tried_of(records, FINAL)
    fit = [r for r in last if context.allows(r.metrics)]
    if not fit:
        # Finals are measured again, and may then all be beyond a limit that others keep.
        last, fit = tried, [r for r in tried if context.allows(r.metrics)]
    if not fit:
        return choose(context, last or records)
    marks = dict(zip((r.step for r in last), standing(last, tried), strict=True))
    return max(fit, key=lambda r: (marks[r.step], -float(r.detail["early_loss"])))


def worths_tried(search: Sequence[Record], records: Sequence[Record]) -> list[float]:
    """How records stand among those of as long trainings; minus infinity of what was not tried.

    Args:
        search: All records of the search.
        records: Some of them.
    """
    tried = tried_of(search)
    marks: dict[int, float] = {}
    for group in (tried, tried_of(search, FINAL)):
        marks |= zip((r.step for r in group), standing(group, tried), strict=True)
    return [marks.get(r.step, -math.inf) for r in records]


def standing(records: Sequence[Record], tried: Sequence[Record]) -> list[float]:
    """How each record stands on all counts together, in standard deviations of the draws.

    Args:
        records: Of equally long trainings.
        tried: All short trainings; the uniform draws among them, or all where those are fewer
            than two, give the scale.

    Returns:
        A number for each record; more is better. Those of other trainings do not compare.
    """
    if not records:
        return []
    drawn = [r for r in tried if r.fidelity["drawn"]]
    reference = _counts(drawn if len(drawn) > 1 else tried)
    counts = _counts(records)
    marks = np.zeros(len(records))
    for j, weight in enumerate(WEIGHTS):
        # A network that diverges, or is degenerate, tells nothing of the scale.
        scale = reference[np.abs(reference[:, j]) < FAILED, j]
        own = counts[np.abs(counts[:, j]) < FAILED, j]
        if len(scale) == 0 or len(own) == 0:
            continue
        # The middle is that of the draws where they trained as long, else that of the records.
        alike = records[0].fidelity["steps"] == tried[0].fidelity["steps"]
        middle = scale.mean() if alike else own.mean()
        deviations = (counts[:, j] - middle) / max(scale.std(), 1e-9)
        marks += weight * np.clip(deviations, -MOST, MOST)
    return [float(m) for m in marks]


def _counts(records: Sequence[Record]) -> npt.NDArray[np.float64]:
    return np.array(
        [
            [
                -r.detail["early_loss"],
                r.detail["expressivity"],
                math.log1p(r.metrics["macs"] or 0.0),
            ]
            for r in records
        ]
    )
