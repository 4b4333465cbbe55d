"""Forecasts of final scores, on curves whose end is known."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.learning_curve import LEAST, forecast, probability_of_beating
from tests.make import one_sentence

EPOCHS = 50


def curves(kind: str, n: int = 60, noise: float = 0.005) -> np.ndarray:
    """Curves [n, EPOCHS] that rise to 0.5 to 1, each by another shape."""
    rng = np.random.default_rng(0)
    t = np.arange(1.0, EPOCHS + 1)
    end, rise = rng.uniform(0.5, 1, (n, 1)), rng.uniform(0.1, 0.5, (n, 1))
    shape = {
        "power": t ** -rng.uniform(0.3, 1.5, (n, 1)),
        "exponential": np.exp(-t / rng.uniform(3, 30, (n, 1))),
        "late": 1 / (1 + (t / rng.uniform(5, 20, (n, 1))) ** 3),
    }[kind]
    return end - rise * shape + noise * rng.standard_normal((n, EPOCHS))


@pytest.mark.parametrize("kind", ["power", "exponential", "late"])
@pytest.mark.parametrize("seen", [10, 25])
def test_a_forecast_is_nearer_to_the_end_than_the_last_score(kind: str, seen: int) -> None:
    whole = curves(kind)
    found = [forecast(curve[:seen], EPOCHS) for curve in whole]
    mean = np.array([f.mean for f in found if f])
    missed = np.sqrt(((mean - whole[:, -1]) ** 2).mean())
    last = np.sqrt(((whole[:, seen - 1] - whole[:, -1]) ** 2).mean())
    assert missed < 0.9 * last
    below = np.array([f.beats(end) for f, end in zip(found, whole[:, -1], strict=True) if f])
    # The interval that is meant to hold 90 %. Of a curve whose rise has not begun, none can.
    least = 0.7 if (kind, seen) == ("late", 10) else 0.85
    assert (np.abs(below - 0.5) < 0.45).mean() >= least


def test_pruning_by_it_keeps_the_best() -> None:
    whole = np.concatenate([curves(kind) for kind in ("power", "exponential", "late")])
    best = np.quantile(whole[:, -1], 0.9)
    doomed = np.array([probability_of_beating(c[:20], best, EPOCHS) < 0.05 for c in whole])
    good = whole[:, -1] > best
    assert doomed[good].mean() < 0.1 and doomed[~good].mean() > 0.3


def test_doubt_shrinks_as_the_training_goes_on() -> None:
    curve = curves("exponential")[0]
    stds = [f.std for n in (5, 10, 20, 40) if (f := forecast(curve[:n], EPOCHS))]
    assert stds == sorted(stds, reverse=True) and len(stds) == 4


def test_the_probability_falls_with_what_must_be_beaten() -> None:
    curve = curves("power")[0][:12]
    found = forecast(curve, EPOCHS)
    assert found is not None
    levels = np.linspace(found.mean - 5 * found.std, found.mean + 5 * found.std, 21)
    chances = [probability_of_beating(curve, level, EPOCHS) for level in levels]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.95 and chances[-1] < 0.05 and 0.3 < chances[10] < 0.7


def test_few_scores_stop_nothing() -> None:
    for n in range(LEAST):
        assert forecast([0.1] * n, 9) is None
        assert probability_of_beating([0.1] * n, 0.9, 9) == 1
    assert probability_of_beating([0.1] * LEAST, 0.9, 9) < 0.05


def test_steps_say_where_the_scores_are() -> None:
    curve = curves("power")[0]
    all_, some = forecast(curve[:20], EPOCHS), forecast(curve[3:20:4], EPOCHS, range(4, 21, 4))
    assert all_ and some and abs(all_.mean - some.mean) < 3 * some.std
    same = forecast(curve[:20], EPOCHS, np.arange(1, 21))
    assert same and same.mean == all_.mean


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=LEAST, max_size=12),
    st.floats(0, 50),
)
def test_any_scores_give_a_finite_forecast(scores: list[float], more: float) -> None:
    found = forecast(scores, len(scores) + more)
    assert found is not None and math.isfinite(found.mean)
    assert 0 < found.std < math.inf and 0 <= found.beats(0.0) <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(-3, 3), st.integers(-8, 8))
def test_scale_and_offset_of_scores_carry_over(offset: int, power: int) -> None:
    curve = curves("power")[0][:12]
    one, other = (
        forecast(c, EPOCHS) for c in (curve, 2.0**power * (curve + offset * np.ptp(curve)))
    )
    assert one and other
    if np.ptp(curve) > 0.01 * np.abs(curve + offset * np.ptp(curve)).max():
        expected = 2.0**power * (one.mean + offset * np.ptp(curve))
        assert other.mean == pytest.approx(expected) and other.std == pytest.approx(
            2.0**power * one.std
        )


BAD: list[tuple[tuple[Any, ...], str]] = [
    (([0.1, math.nan, 0.3, 0.4], 9), "finite"),
    (([0.1, 0.2, 0.3, 0.4], 3), "final=3"),
    (([0.1, 0.2, 0.3, 0.4], math.inf), "final=inf"),
    (([0.1, 0.2, 0.3, 0.4], 9, [1, 2, 3]), "3 steps"),
    (([0.1, 0.2, 0.3, 0.4], 9, [0, 1, 2, 3]), "above 0"),
    (([0.1, 0.2, 0.3, 0.4], 9, [1, 3, 2, 4]), "rising"),
]


@pytest.mark.parametrize("given_, named", BAD)
def test_bad_input_is_named(given_: tuple[Any, ...], named: str) -> None:
    with pytest.raises(UsageError) as error:
        forecast(*given_)
    one_sentence(str(error.value), named)
