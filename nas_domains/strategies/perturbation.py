"""Selection by perturbation: the candidate stays that the supernet misses most (DARTS-PT)."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.history import SEARCH
from ..core.seeds import derive
from ..evaluation.loop import run_loop
from .base import Plan
from .gradient_search import GradientSearch
from .parts.selection import keep_most_needed

__all__ = ["PerturbationSelection"]


class PerturbationSelection:
    """Edge by edge in random order, on validation data, with some training in between.

    Wang et al. 2021, arXiv 2108.04392: on each edge each candidate is left out in turn; the one
    that is missed most stays alone. Where an architecture has fewer edges than the supernet, each
    is then left out in turn as well, and how much it is missed decides.

    Args:
        search: A search whose weights are trained.

    Attributes:
        spent: Seconds of all comparisons and the training between them, over kills.
    """

    TUNING = 0.3
    """Weight steps between the edges, as a share of the steps of the search."""
    MOST = 512
    """Samples of the validation half that a comparison takes at most."""

    def __init__(self, search: GradientSearch) -> None:
        self.search = search
        space = search.supernet.space
        self.kinds = list(space.kinds)
        self.edges = [(kind, e) for kind in self.kinds for e in range(len(space.design.edges))]
        order = np.random.default_rng(derive(search.context.seed, SEARCH, "edges"))
        self.order = [self.edges[i] for i in order.permutation(len(self.edges))]
        self.thins = any(space.kept(edge) < 1 for edge in space.design.edges)
        self.judged = search.second[: self.MOST]
        self.spent = 0.0
        self.needed = {kind: torch.zeros(len(space.design.edges)) for kind in self.kinds}

    def plan(self, steps: int) -> Plan:
        """Weight steps after each edge, for a search of so many steps."""
        return {"tune": max(1, round(self.TUNING * steps / len(self.edges)))}

    def seconds(self) -> float:
        """About how long all comparisons take: one's time, the least of three, times their number.

        They are a hundred and more, so one that the machine held up must not speak for all.
        """
        times = []
        for _ in range(3):
            began = time.perf_counter()
            self._score()
            times.append(time.perf_counter() - began)
        candidates = len(self.search.supernet.space.candidates)
        return min(times) * len(self.edges) * (candidates + 2 * self.thins)

    def run(self, plan: Plan) -> None:
        """Selects; goes on where a kill left it."""
        search, tune = self.search, plan["tune"]

        def step(number: int) -> None:
            kind, edge = self.order[number % len(self.order)]
            if number < len(self.order):
                keep_most_needed(search.supernet, kind, edge, self._score)
                for t in range(tune):
                    search.weight_step(search.steps + number * tune + t)
            else:
                whole = self._score()
                with search.supernet.without(kind, edge):
                    part = self._score()
                # The loss, as accuracies of few samples are often equal.
                self.needed[kind][edge] = whole[1] - part[1]

        run_loop(
            stage=f"{SEARCH}/selection",
            seed=search.context.seed,
            steps=len(self.order) * (2 if self.thins else 1),
            steps_per_epoch=1,
            state={**search.state(), "selection": self},
            step=step,
            epoch_end=self._count,
            meter=search.meter,
            path=search.context.checkpoints / f"{SEARCH}/selection.safetensors",
            reporter=search.context.reporter,
        )

    def _count(self, edges: int) -> str:
        self.spent += self.search.meter.seconds
        return "edges"

    def strengths(self) -> dict[str, Tensor]:
        """Kind -> [E, K]: zero but for what stays, which has how much its edge is missed."""
        found = {}
        for kind in self.kinds:
            kept = ~self.search.supernet.dropped[kind].cpu()
            needed = self.needed[kind] - self.needed[kind].min() + 1.0
            found[kind] = kept.float() * needed[:, None]
        return found

    def _score(self) -> tuple[float, float]:
        search = self.search
        metrics = search.score(indices=self.judged)
        return search.context.score(metrics)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"needed": dict(self.needed), "spent": self.spent}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.needed, self.spent = dict(state["needed"]), float(state.get("spent", 0.0))
