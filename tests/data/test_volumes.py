"""Volumes are prepared once, as far as there is room."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from nas_domains.core.task import Task
from nas_domains.data.decathlon import Case
from nas_domains.data.volumes import Volumes
from nas_domains.evaluation import timing
from nas_domains.evaluation.fidelity import PartOf, Resized
from tests.make import Widths, make_context

SHAPE = 1, 4, 4, 4
BYTES = 64 * 4 + 64
"""Of a prepared volume and its classes."""


class Counted:
    """Makes a volume of its case's name, and counts."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, case: Case, /) -> tuple[Tensor, Tensor]:
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


def volumes(n: int, prepare: Counted, *, room: int = 1 << 20) -> tuple[Volumes, Whole]:
    cases = [Case(str(i), f"{i}.nii") for i in range(n)]
    patcher = Whole()
    return Volumes(cases, prepare, patcher, cache_bytes=room), patcher


def test_what_there_is_room_for_is_prepared_once() -> None:
    prepare = Counted()
    split, patcher = volumes(5, prepare, room=3 * BYTES)
    split.ready(drawn=True)
    # The fourth showed that there is no more room.
    assert prepare.read == ["0", "1", "2", "3"] and patcher.placed == 3
    split.ready(drawn=True)
    assert len(prepare.read) == 4
    x, y = split.draw([0, 1, 2], torch.Generator().manual_seed(0))
    assert x.shape == (3, *SHAPE) and y.dtype is torch.int64
    assert len(prepare.read) == 4 and patcher.placed == 3
    assert float(split[4][0].mean()) == 4 and prepare.read[4:] == ["4"]


def test_places_are_found_only_for_what_is_drawn() -> None:
    split, patcher = volumes(3, Counted())
    split.ready(drawn=False)
    assert patcher.placed == 0
    split.ready(drawn=True)
    assert patcher.placed == 3


@pytest.mark.parametrize(
    "wrap", [lambda s: PartOf(s, [4, 1]), lambda s: Resized(PartOf(s, [4, 1]), 0.5)]
)
def test_parts_prepare_what_they_use(wrap: Callable[[Volumes], Any]) -> None:
    prepare = Counted()
    split, patcher = volumes(5, prepare)
    wrap(split).ready(True)
    assert prepare.read == ["4", "1"] and patcher.placed == 2
    PartOf(wrap(split), [1]).ready(True)
    PartOf([1, 2, 3], [1]).ready(True)
    assert len(prepare.read) == 2


def test_another_process_prepares_its_own() -> None:
    split, _ = volumes(4, Counted(), room=3 * BYTES)
    split.ready(drawn=True)
    sent = pickle.loads(pickle.dumps(split))
    assert not sent.prepare.read[4:] and len(pickle.dumps(split)) < 1500
    sent.ready(drawn=False)
    # It has the whole room.
    assert sent.prepare.read[4:] == ["0", "1", "2", "3"] and len(sent._kept) == 3


def test_nothing_is_prepared_while_an_epoch_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Counted()
    splits = [volumes(n, prepare)[0] for n in (12, 6, 2)]
    accuracy = {"accuracy": MulticlassAccuracy(2)}
    train = PartOf(splits[0], range(10))
    loss = nn.functional.cross_entropy
    task = Task("slow", "", train, splits[1], splits[2], SHAPE, 2, loss, accuracy)
    context = make_context(tmp_path, Widths(), task)
    context.batch_size = 5
    before = []
    seconds_each = timing.seconds_each

    def noted(*arguments: Any, **options: Any) -> float:
        before.extend(prepare.read)
        return seconds_each(*arguments, **options)

    monkeypatch.setattr(timing, "seconds_each", noted)
    assert timing.epoch_time(nn.Conv3d(1, 2, 1), context, 0.1).steps == 2
    assert len(before) == 16 and prepare.read == before
