"""Rank correlations against their definition, and the gain over chance."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.rank import kendall_tau, relative_gain, top_tau
from tests.make import one_sentence

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12)


def by_definition(a: list[int], b: list[int]) -> float:
    """Concordant minus discordant pairs, over those untied in each."""
    signs = [
        (np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in combinations(range(len(a)), 2)
    ]
    untied = [sum(s[side] != 0 for s in signs) for side in (0, 1)]
    if 0 in untied:
        return math.nan
    return float(sum(s * t for s, t in signs)) / math.sqrt(untied[0] * untied[1])


@given(PAIRS)
def test_tau_is_tau_b(pairs: list[tuple[int, int]]) -> None:
    a, b = map(list, zip(*pairs, strict=True))
    assert kendall_tau(a, b) == pytest.approx(by_definition(a, b), nan_ok=True)
    assert kendall_tau(np.exp(a), b) == pytest.approx(kendall_tau(a, b), nan_ok=True)
    assert kendall_tau(b, a) == pytest.approx(kendall_tau(a, b), nan_ok=True)


def test_the_top_is_of_the_truth() -> None:
    truth = [float(i) for i in range(10)]
    scores = [*truth[:8], 5.0, 1.0]
    assert top_tau(scores, truth) == pytest.approx(-1) and kendall_tau(scores, truth) > 0
    assert top_tau(truth, truth, 1.0) == pytest.approx(1)
    # A fifth of eleven is rounded up to three.
    assert top_tau([*[0.0] * 8, 1.0, 3.0, 2.0], [float(i) for i in range(11)]) == pytest.approx(
        1 / 3
    )


def test_the_gain_is_over_the_mean() -> None:
    assert relative_gain(0.9, [0.5, 0.7]) == pytest.approx(0.5)
    assert relative_gain(0.6, [0.5, 0.7]) == pytest.approx(0)


BAD: list[tuple[Any, tuple[Any, ...], str]] = [
    (kendall_tau, ([1, 2], [1, 2, 3]), "2 and 3"),
    (kendall_tau, ([1], [1]), "two"),
    (kendall_tau, ([1, math.nan], [1, 2]), "finite"),
    (kendall_tau, ([1, 2], [1, math.inf]), "finite"),
    (top_tau, ([1, 2, 3], [1, 2, 3]), "best 0.2 of 3"),
    (top_tau, ([1, 2, 3], [1, 2, 3], 0.0), "0.0"),
    (top_tau, ([1, 2, 3], [1, 2, 3], 1.5), "1.5"),
    (relative_gain, (1.0, []), "mean"),
    (relative_gain, (math.nan, [1.0]), "finite"),
    (relative_gain, (1.0, [-1.0, 1.0]), "zero"),
]


@pytest.mark.parametrize(("function", "arguments", "named"), BAD)
def test_bad_input_is_one_sentence(function: Any, arguments: tuple[Any, ...], named: str) -> None:
    with pytest.raises(UsageError) as error:
        function(*arguments)
    one_sentence(str(error.value), named)
