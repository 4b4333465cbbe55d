"""Small tasks, contexts and spaces that several tests use."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_domains.core.space import Choice, SearchSpace
from nas_domains.core.task import Task
from nas_domains.evaluation.context import Context
from nas_domains.nn.cell import CellNetwork
from nas_domains.testing.strategies import bars as images
from nas_domains.testing.strategies import bars_task as make_task
from nas_domains.testing.strategies import small_context, stopped_after
from nas_domains.vision.spaces import NasBench201, nasbench201

__all__ = [
    "Room",
    "RoomyCells",
    "Widths",
    "images",
    "make_context",
    "make_task",
    "one_sentence",
    "stopped_after",
    "stripped",
]


def make_context(
    path: Path, space: SearchSpace | None = None, task: Task | None = None, **options: Any
) -> Context:
    """A small context, on NAS-Bench-201's cells by default."""
    return small_context(path, space or nasbench201(cells=1, channels=4), task, **options)


class RoomyCells(NasBench201):
    """NAS-Bench-201's cells whose stem says that memory ran out.

    Args:
        room: Samples above which it says so.
    """

    def __init__(self, room: int = sys.maxsize) -> None:
        self.room = room
        super().__init__(nasbench201(cells=1, channels=4).config)

    def stack(self, *arguments: Any, **sizes: Any) -> CellNetwork:
        network = super().stack(*arguments, **sizes)
        network.stem = nn.Sequential(*network.stem, Room(self.room))
        return network


class Widths(SearchSpace):
    """A person's own space: a perceptron of one or two layers; not registered.

    Args:
        room: Samples above which it says that memory ran out.
    """

    def __init__(self, room: int = sys.maxsize) -> None:
        self.room = room
        super().__init__(
            "widths",
            [
                Choice("depth", (1, 2)),
                Choice("first", (4, 8, 16)),
                Choice("second", (4, 8), parent="depth", when=(2,)),
            ],
        )

    def build(
        self, architecture: Mapping[str, Any], input_shape: tuple[int, ...], outputs: int
    ) -> nn.Module:
        sizes = [int(torch.Size(input_shape).numel())]
        sizes += [architecture[k] for k in ("first", "second") if k in architecture]
        layers: list[nn.Module] = [nn.Flatten(), Room(self.room)]
        for a, b in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class Room(nn.Module):
    """Says that memory ran out, as torch does, for more samples than there is room for."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return x


def stripped(result: Any) -> Any:
    """A result without what is measured: seconds, latency, and facts on the machine."""
    measured = ("latency_ms", "prepare_seconds", "search_seconds", "train_seconds", "environment")
    if isinstance(result, dict):
        return {k: stripped(v) for k, v in result.items() if k not in measured}
    if isinstance(result, list):
        return [stripped(v) for v in result]
    return result


def one_sentence(text: str, *named: str) -> None:
    """Asserts that an error is exactly one sentence and names what it should."""
    text = text.strip()
    assert text.endswith(".") and "\n" not in text, text
    # A path or an ellipsis may hold a full stop; a second sentence begins with a capital.
    assert not re.search(r"[.!?]\s+[A-Z]", text), text
    for name in named:
        assert name in text, f"{name!r} is not named in: {text}"


def naive(mixed, x, weights):
    """The weighted sum of a mixed operation's candidates, one by one."""
    return sum(w * m(x) for w, m in zip(weights, mixed.candidates.values(), strict=True))
