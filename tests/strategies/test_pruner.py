"""Hyperband: brackets, rungs, what a trial costs, bad options."""

from collections import Counter

import numpy as np
import pytest

from nas_domains.core.errors import UsageError
from nas_domains.strategies.pruner import Hyperband
from tests.make import one_sentence


def test_brackets_begin_at_different_rungs() -> None:
    pruner = Hyperband(27)
    assert [pruner.rungs(b) for b in range(pruner.brackets)] == [[1, 3, 9], [3, 9], [9], []]
    assert Hyperband(1).brackets == 1 and Hyperband(1).rungs(0) == []
    assert Hyperband(10, factor=2).rungs(0) == [1, 2, 4, 8]


def test_what_a_trial_costs() -> None:
    pruner = Hyperband(27)
    # All train 1 epoch, a third 2 more, a ninth 6 more, one in 27 the last 18.
    assert pruner.cost(0) == pytest.approx(1 + 2 / 3 + 6 / 9 + 18 / 27)
    assert pruner.cost(3) == 27
    shares = pruner.shares()
    assert sum(shares) == pytest.approx(1)
    spent = [s * pruner.cost(b) for b, s in enumerate(shares)]
    np.testing.assert_allclose(spent, spent[0])
    assert pruner.mean_cost() == pytest.approx(sum(spent))


def test_brackets_depend_on_the_seed_and_the_number_alone() -> None:
    counts = Counter(Hyperband(27, seed=4).bracket(n) for n in range(1000))
    for bracket, share in enumerate(Hyperband(27).shares()):
        # Five standard deviations of a binomial count.
        spread = (1000 * share * (1 - share)) ** 0.5
        assert abs(counts[bracket] - 1000 * share) < 5 * spread
    one, other = ([Hyperband(27, seed=s).bracket(n) for n in range(50)] for s in (1, 2))
    assert one != other


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"most": 0}, "most=0"),
        ({"most": 3, "least": 4}, "least=4"),
        ({"most": 3, "factor": 1}, "factor=1"),
    ],
)
def test_bad_options_are_named(options: dict[str, int], named: str) -> None:
    with pytest.raises(UsageError) as error:
        Hyperband(**options)
    one_sentence(str(error.value), named)
