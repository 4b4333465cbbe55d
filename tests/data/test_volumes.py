"""Volumes are prepared once, as far as there is room."""

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from nas_domains.core.task import Task
from nas_domains.data.decathlon import Case
from nas_domains.data.volumes import Volumes
from nas_domains.evaluation.fidelity import PartOf
from nas_domains.evaluation.timing import epoch_time
from tests.make import Widths, make_context

SHAPE = 1, 4, 4, 4
BYTES = 64 * 4 + 64
"""Of a prepared volume and its classes."""


class Slowly:
    """Makes a volume of its case's name, in some seconds, and counts."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.read: list[str] = []

    def __call__(self, case: Case, /) -> tuple[Tensor, Tensor]:
        time.sleep(self.seconds)
        self.read.append(case.name)
        y = torch.zeros(SHAPE[1:], dtype=torch.uint8)
        y[0] = 1
        return torch.full(SHAPE, float(case.name)), y

    def original(self, case: Case, scores: Tensor) -> tuple[Tensor, Tensor]:
        return scores, self(case)[1][None]


class Whole:
    """Patches that are whole volumes, at counted places."""

    def __init__(self) -> None:
        self.placed = 0

    def fixed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, y

    def places(self, y: Tensor) -> np.ndarray:
        self.placed += 1
        return np.argwhere(y.numpy())

    def draw(self, x: Tensor, y: Tensor, places: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
        assert len(places) == 16
        return x, y


def volumes(n: int, prepare: Slowly, *, room: int = 1 << 20) -> tuple[Volumes, Whole]:
    cases = [Case(str(i), f"{i}.nii") for i in range(n)]
    patcher = Whole()
    return Volumes(cases, prepare, patcher, cache_bytes=room), patcher


def test_what_there_is_room_for_is_prepared_once() -> None:
    prepare = Slowly()
    split, patcher = volumes(5, prepare, room=3 * BYTES)
    split.ready(drawn=True)
    # The fourth showed that there is no more room.
    assert prepare.read == ["0", "1", "2", "3"] and patcher.placed == 3
    split.ready(drawn=True)
    x, y = split.draw([0, 1, 2], torch.Generator().manual_seed(0))
    assert x.shape == (3, *SHAPE) and y.dtype is torch.int64
    assert prepare.read[4:] == ["3"] and patcher.placed == 3
    assert float(split[4][0].mean()) == 4 and prepare.read[5:] == ["4"]


def test_places_are_found_only_for_what_is_drawn() -> None:
    split, patcher = volumes(3, Slowly())
    split.ready(drawn=False)
    assert patcher.placed == 0 and len(split) == 3


def test_preparing_is_not_taken_for_the_time_of_an_epoch(tmp_path: Path) -> None:
    prepare = Slowly(0.05)
    splits = [volumes(n, prepare)[0] for n in (12, 6, 2)]
    accuracy = {"accuracy": MulticlassAccuracy(2)}
    train = PartOf(splits[0], range(10))
    loss = nn.functional.cross_entropy
    task = Task("slow", "", train, splits[1], splits[2], SHAPE, 2, loss, accuracy)
    context = make_context(tmp_path, Widths(), task)
    context.batch_size = 5
    found = epoch_time(nn.Conv3d(1, 2, 1), context, 0.1)
    # To read the cases takes 0.6 s and 0.3 s.
    assert found.steps == 2 and found.step * found.steps < 0.2 and found.scoring < 0.2
    assert sorted(prepare.read, key=int)[:3] == ["0", "0", "1"] and len(prepare.read) == 18
