"""Hypervolumes against known ones, the knee, and how a front grew."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.core.history import Record
from nas_domains.evaluation.fronts import MOST, front_progress, hypervolume, knee
from nas_domains.evaluation.select import front
from tests.make import Widths, make_context

POINTS = st.lists(st.tuples(*[st.integers(1, 6)] * 3), min_size=1, max_size=8)


@given(POINTS)
@settings(max_examples=40)
def test_the_hypervolume_is_that_of_the_cubes_it_covers(
    points: list[tuple[int, int, int]],
) -> None:
    grid = np.zeros((6, 6, 6), dtype=bool)
    for a, b, c in points:
        grid[:a, :b, :c] = True
    found = hypervolume(np.array(points, dtype=float), np.zeros(3))
    assert found == pytest.approx(grid.sum())
    flat = np.array(points, dtype=float)[:, :2]
    assert hypervolume(flat, np.zeros(2)) == pytest.approx(grid.any(2).sum())


def test_what_is_not_above_the_reference_covers_nothing() -> None:
    points = np.array([[2.0, 0.0], [0.0, 2.0], [-1.0, 9.0]])
    assert hypervolume(points, np.zeros(2)) == 0
    assert hypervolume(points, np.array([-2.0, -1.0])) == pytest.approx(4 + 2 * 2 + 1 * 7)


def test_the_knee_gives_up_least() -> None:
    # Nearly the best accuracy at a tenth of the size.
    points = np.array([[0.95, -100.0], [0.94, -10.0], [0.5, -1.0]])
    assert knee(points) == 1
    assert knee(points * [1, 1e6]) == 1
    assert knee(points[:2]) is None


def test_a_front_grows_with_the_search(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths(), objectives=("accuracy", "params"))
    rng = np.random.default_rng(0)
    records = [
        Record(
            "search",
            step,
            {"depth": 1, "first": step},
            {"epochs": 1},
            {"accuracy": float(rng.random()), "params": float(rng.integers(1, 99)), "loss": 1.0},
            0.5,
        )
        for step in range(1, 121)
    ]
    members = front(context, records)
    found = front_progress(context, records, members)
    assert found is not None and found["objectives"] == ["accuracy", "params"]
    steps, seconds, shares = zip(*found["hypervolume"], strict=True)
    assert steps[-1] == 120 and seconds[-1] == 60 and len(steps) <= 120 // (120 // MOST)
    assert list(shares) == sorted(shares) and 0.5 < shares[-1] <= 1
    worst, best = found["reference"], found["ideal"]
    assert worst[0] < best[0] and worst[1] > best[1]
    assert 0 <= found["knee"] < len(members)


def test_one_goal_or_no_score_has_no_front(tmp_path: Path) -> None:
    metrics = {"accuracy": 0.5, "params": 4.0}
    records = [Record("search", s, {"a": s}, {}, metrics, 1.0) for s in (1, 2)]
    one = make_context(tmp_path, Widths())
    assert front_progress(one, records, front(one, records)) is None
    two = make_context(tmp_path, Widths(), objectives=("accuracy", "latency_ms"))
    assert front_progress(two, records, []) is None
