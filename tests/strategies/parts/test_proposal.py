"""What is looked at next."""

import numpy as np
import pytest

from nas_domains.core.space import Choice, SearchSpace
from nas_domains.strategies.parts.proposal import most_promising
from nas_domains.vision.spaces import nasbench201
from tests.make import Widths

SPACE = SearchSpace("digits", [Choice(f"c{i}", (0, 1, 2, 3)) for i in range(6)])


def _mark(architecture) -> float:
    values = list(architecture.values())
    return float(sum(values)) - 3.0 * (values[0] == values[1])


def _search(seed: int, trials: int, *, random: bool = False) -> list[float]:
    rng = np.random.default_rng(seed)
    known = list(dict.fromkeys(SPACE.sample(8, rng)))
    marks = [_mark(a) for a in known]
    while len(known) < trials:
        if random:
            found = SPACE.sample(1, rng)[0]
        else:
            found = most_promising(SPACE, known, marks, rng)
            assert found is not None and found not in known
            SPACE.architecture(found)
        known.append(found)
        marks.append(_mark(found))
    return marks


def test_it_comes_to_the_best_sooner_than_chance() -> None:
    led = [max(_search(seed, 28)) for seed in range(3)]
    drawn = [max(_search(seed, 28, random=True)) for seed in range(3)]
    # The best is 17: all options 3 but one of the first two.
    assert np.mean(led) >= 16 and np.mean(led) > np.mean(drawn) + 1


def test_the_same_generator_gives_the_same_proposal() -> None:
    known = SPACE.sample(10, 3)
    marks = [_mark(a) for a in known]
    first = most_promising(SPACE, known, marks, np.random.default_rng(4))
    assert first == most_promising(SPACE, known, marks, np.random.default_rng(4))


@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_limit_is_kept(count: int) -> None:
    space = nasbench201(1, 4)
    limit = space.limit(["params<=9000"], (1, 8, 8), 3)
    known = space.sample(count, 2, limit)
    found = most_promising(space, known, [0.0] * count, np.random.default_rng(0), limit)
    assert found is not None and limit.allows(found) and found not in known


def test_where_all_is_known_there_is_none() -> None:
    space = Widths()
    known = list(space)
    assert most_promising(space, known, [1.0] * len(known), np.random.default_rng(0)) is None
    alone = SearchSpace("one", [Choice("a", (1,))])
    (only,) = alone
    assert most_promising(alone, [], [], np.random.default_rng(0)) == only
    assert most_promising(alone, [only], [1.0], np.random.default_rng(0)) is None
