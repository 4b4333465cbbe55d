"""PathSampler against full enumeration, and its random numbers against the published vectors."""

import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("nas_domains._sampler", reason="PathSampler needs the compiled module")
from nas_domains._sampler import PathSampler, philox4x32


def enumerate_space(costs, parents, active):
    """All architectures as tuples (-1 where a choice is absent), with their costs."""
    found = {}
    for options in itertools.product(*(range(-1, len(c)) for c in costs)):
        cost = 0
        for i, option in enumerate(options):
            exists = parents[i] < 0 or options[parents[i]] in active[i]
            if (option >= 0) != exists:
                break
            cost += costs[i][option] if exists else 0
        else:
            found[options] = cost
    return found


@st.composite
def spaces(draw):
    n = draw(st.integers(1, 5))
    costs = [draw(st.lists(st.integers(0, 7), min_size=1, max_size=3)) for _ in range(n)]
    unit = draw(st.sampled_from([1, 1, 6]))
    costs = [[unit * c for c in options] for options in costs]
    parents, active = [], []
    for i in range(n):
        parents.append(draw(st.integers(-1, i - 1)))
        options = range(len(costs[parents[i]])) if parents[i] >= 0 else []
        active.append([o for o in options if draw(st.booleans())])
    return costs, parents, active


def chi_square_is_plausible(counts, expected):
    """True unless the statistic is 6 standard deviations above its mean (a one in 10**5 event)."""
    freedom = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return statistic <= freedom + 6 * np.sqrt(2 * freedom) + 6


@settings(max_examples=150, deadline=None, derandomize=True)
@given(space=spaces(), seed=st.integers(0, 2**64 - 1))
def test_counts_and_draws_match_enumeration(space, seed):
    found = enumerate_space(*space)
    sampler = PathSampler(*space)
    assert sampler.count() == len(found)
    assert (sampler.min_cost, sampler.max_cost) == (min(found.values()), max(found.values()))
    for limit in range(-1, sampler.max_cost + 2):
        below = {a for a, cost in found.items() if cost <= limit}
        assert sampler.count(limit) == len(below)
        assert sampler.fraction(limit) == len(below) / len(found)
    limit = sorted(found.values())[len(found) // 2]
    below = sorted(a for a, cost in found.items() if cost <= limit)
    n = 40 * len(below)
    rows = sampler.sample(n, seed, limit)
    drawn = {a: 0 for a in below}
    for row in map(tuple, rows.tolist()):
        drawn[row] += 1  # a KeyError is an architecture over the limit, or none at all
    assert chi_square_is_plausible(np.array(list(drawn.values())), 40)


def test_uniform_over_many_draws():
    """A finer look at one elastic space: depths with their layers."""
    costs = [[1, 2, 3], [2, 3], [1, 4], [5, 2], [0, 3, 1]]
    space = costs, [-1, 0, 0, 0, -1], [[], [0, 1, 2], [1, 2], [2], []]
    below = sorted(a for a, cost in enumerate_space(*space).items() if cost <= 9)
    rows = PathSampler(*space).sample(400_000, 3, 9, threads=2)
    drawn, counts = np.unique(rows, axis=0, return_counts=True)
    assert [tuple(r) for r in drawn.tolist()] == below
    assert chi_square_is_plausible(counts, len(rows) / len(below))


def test_rows_depend_on_seed_index_and_limit_only():
    sampler = PathSampler([[1, 2, 3, 5]] * 50)
    rows = sampler.sample(1000, 7, 120)
    assert rows.dtype == np.int16 and rows.shape == (1000, 50)
    for threads in (2, 3, 7):
        assert np.array_equal(rows, sampler.sample(1000, 7, 120, threads=threads))
    assert np.array_equal(rows[:10], sampler.sample(10, 7, 120))
    assert not np.array_equal(rows, sampler.sample(1000, 8, 120))
    assert sampler.sample(0, 7).shape == (0, 50)


@pytest.mark.parametrize("n", [63, 64, 65, 200])
def test_counts_beyond_64_bits(n):
    """n choices of cost 0 or 1: the architectures of cost k are n over k."""
    sampler = PathSampler([[0, 1]] * n)
    total = 0
    for limit in range(n + 1):
        total += comb(n, limit)
        assert sampler.count(limit) == total
    assert sampler.count() == 2**n
    ones = sampler.sample(20_000, 1).sum(axis=1)
    assert abs(ones.mean() - n / 2) < 6 * np.sqrt(n / 4 / len(ones))
    assert set(sampler.sample(2000, 1, 1).sum(axis=1)) == {0, 1}


def test_a_large_unit_of_cost_needs_no_large_table():
    sampler = PathSampler([[10**9, 3 * 10**9]] * 20)
    assert sampler.table_bytes < 10_000
    assert sampler.count(20 * 10**9 + 2 * 10**9 - 1) == 1


def test_layers_of_a_depth_share_states():
    """Four layers under a depth cost no more states than four layers in a row."""
    plain = PathSampler([[0, 1]] * 5)
    depth = PathSampler([[0, 0, 0, 0]] + [[0, 1]] * 4, [-1, 0, 0, 0, 0],
                        [[]] + [list(range(k, 4)) for k in range(4)])  # fmt: skip
    assert depth.table_bytes <= plain.table_bytes
    assert depth.count() == 2 + 4 + 8 + 16


# From kat_vectors of the Random123 library.
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_words(counter, key, words):
    assert philox4x32(counter, key) == words


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: PathSampler([]), "PathSampler got no choices"),
        (lambda: PathSampler([[1], []]), "choice 1 has no options"),
        (lambda: PathSampler([[1, -2]]), "choice 0 has the negative cost -2"),
        (lambda: PathSampler([[1]], [-1, 0]), "needs one parent for each of the 1 choices, got 2"),
        (lambda: PathSampler([[1]], [-1], [[], []]), "one list of active parent options"),
        (lambda: PathSampler([[1], [2]], [1, -1]), "choice 0 has the parent 1"),
        (lambda: PathSampler([[1], [2]], [-1, 0], [[], [1]]), "option 1 of choice 0, which has"),
        (lambda: PathSampler([[1]], [-1], [[0]]), "choice 0 has no parent; leave its active"),
        (lambda: PathSampler([[0, 2**40 + 1], [7]]), "more than max_bytes=1073741824 bytes"),
        (lambda: PathSampler([[2**62]] * 4), "add up to more than 64 bits"),
        (lambda: PathSampler([[0] * 40_000]), "more than 32767 options"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, 2), "costs at most 2; the cheapest costs 3"),
        (lambda: PathSampler([[3, 5]]).sample(-1, 0), "n=-1; use 0 or more"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, threads=0), "threads=0; use 1 to 1024"),
    ],
)
def test_errors_are_one_sentence(call, sentence):
    with pytest.raises(ValueError) as caught:
        call()
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(".")


def test_limits_of_any_size_and_no_floats():
    sampler = PathSampler([[3, 5]])
    assert sampler.count(10**30) == 2 and sampler.count(-(10**30)) == 0
    assert sampler.count(np.int64(4)) == 1
    with pytest.raises(TypeError):
        sampler.count(4.5)
