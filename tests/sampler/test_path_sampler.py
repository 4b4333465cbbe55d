"""PathSampler against full enumeration, and its random numbers against the published vectors."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from math import comb
from pathlib import Path

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


UNITS = [1, 6, 0.25, 0.1, 1e-9 / 3]
"""Costs that are whole, that have a common unit, and whose sums round."""


@st.composite
def spaces(draw, most=7):
    n = draw(st.integers(1, 5))
    costs = [draw(st.lists(st.integers(0, most), min_size=1, max_size=3)) for _ in range(n)]
    unit = draw(st.sampled_from(UNITS))
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


def assert_drawn(rows, shares):
    """Each row is one of the architectures, and each comes up in proportion to its share."""
    drawn = dict.fromkeys(shares, 0)
    for row in map(tuple, rows.tolist()):
        drawn[row] += 1  # a KeyError is an architecture outside the limits, or none at all
    expected = np.array(list(shares.values()), dtype=float)
    expected *= len(rows) / expected.sum()
    assert chi_square_is_plausible(np.array(list(drawn.values())), expected)


def assert_count(sampler, found, *limits):
    """A count is the number found, or where costs are on a grid an interval that holds it."""
    count = sampler.count(*limits)
    least, most = count if isinstance(count, tuple) else (count, count)
    assert least <= found <= most
    if sampler.exact:
        assert least == most


@settings(max_examples=150, deadline=None, derandomize=True)
@given(space=spaces(), seed=st.integers(0, 2**64 - 1), data=st.data())
def test_counts_and_draws_match_enumeration(space, seed, data):
    found = enumerate_space(*space)
    sampler = PathSampler(*space)
    values = sorted(set(found.values()))
    assert_count(sampler, len(found))
    assert sampler.min_cost == pytest.approx(values[0], rel=1e-14)
    assert sampler.max_cost == pytest.approx(values[-1], rel=1e-14)
    for limit in [-1.0, *values, values[-1] * 2 + 1]:
        below = sum(cost <= limit for cost in found.values())
        assert_count(sampler, below, limit)
        if sampler.exact:
            assert sampler.fraction(limit) == below / len(found)
    low, high = sorted(data.draw(st.sampled_from(values)) for _ in range(2))
    within = {a: 1 for a, cost in found.items() if low <= cost <= high}
    assert_count(sampler, len(within), (low, high))
    assert_drawn(sampler.sample(40 * len(within), seed, (low, high)), within)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(space=spaces(), seed=st.integers(0, 2**64 - 1), data=st.data())
def test_two_costs_match_enumeration(space, seed, data):
    costs, parents, active = space
    rising = st.integers(0, 9).map(lambda c: c * data.draw(st.sampled_from(UNITS)))
    other = [[data.draw(rising) for _ in options] for options in costs]
    first, second = (enumerate_space(c, parents, active) for c in (costs, other))
    sampler = PathSampler(costs, parents, active, second=other)
    pick = st.sampled_from(sorted(first))
    some, least = data.draw(pick), data.draw(pick)
    limit, band = first[some], (min(second[some], second[least]), second[some])
    within = {a: 1 for a in first if first[a] <= limit and band[0] <= second[a] <= band[1]}
    assert_count(sampler, len(within), limit, band)
    assert_drawn(sampler.sample(40 * len(within), seed, limit, band), within)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(space=spaces(most=10**6), seed=st.integers(0, 2**64 - 1), data=st.data())
def test_a_grid_keeps_draws_exact_and_counts_within_their_interval(space, seed, data):
    found = enumerate_space(*space)
    # So little memory that hardly any of these costs has an entry of its own.
    sampler = PathSampler(*space, max_bytes=1000)
    values = sorted(found.values())
    low, high = sorted(data.draw(st.sampled_from(values)) for _ in range(2))
    within = {a: 1 for a, cost in found.items() if low <= cost <= high}
    assert_count(sampler, len(within), (low, high))
    assert_count(sampler, sum(cost <= high for cost in values), high)
    assert_drawn(sampler.sample(40 * len(within), seed, (low, high)), within)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(space=spaces(), seed=st.integers(0, 2**64 - 1), data=st.data())
def test_draws_follow_logits(space, seed, data):
    found = enumerate_space(*space)
    rows = [[data.draw(st.floats(-1, 1)) for _ in options] for options in space[0]]
    never = data.draw(st.integers(0, len(rows) - 1))
    if len(rows[never]) > 1:
        rows[never][0] = -np.inf
    limit = sorted(found.values())[len(found) // 2]
    odds = [np.exp(row) / np.exp(row).sum() for row in rows]
    shares = {
        a: np.prod([odds[i][o] for i, o in enumerate(a) if o >= 0])
        for a, cost in found.items()
        if cost <= limit
    }
    shares = {a: share for a, share in shares.items() if share > 0}
    sampler = PathSampler(*space)
    if not shares:
        with pytest.raises(ValueError, match="no architecture that may be drawn"):
            sampler.sample(1, seed, limit, logits=rows)
        return
    rows = [row + [0.0] * (3 - len(row)) for row in rows]  # as a square array has them
    drawn = sampler.sample(200 * len(shares), seed, limit, logits=np.array(rows))
    assert_drawn(drawn, shares)


def test_digits_that_tie_are_decided_by_the_whole_numbers():
    """Options of one in 2**18: no digit of 16 bits alone ever draws them."""
    sampler = PathSampler([[0, 1]] * 18)
    rows = sampler.sample(2**21, 5, (0, 2), logits=[[0.0, -18 * np.log(2)]] * 18)
    ones = rows.sum(axis=1)
    expected = len(rows) * 18 / 2**18
    assert abs((ones == 1).sum() - expected) < 6 * np.sqrt(expected)


def test_uniform_over_many_draws():
    """A finer look at one elastic space: depths with their layers."""
    costs = [[1, 2, 3], [2, 3], [1, 4], [5, 2], [0, 3, 1]]
    space = costs, [-1, 0, 0, 0, -1], [[], [0, 1, 2], [1, 2], [2], []]
    below = sorted(a for a, cost in enumerate_space(*space).items() if cost <= 9)
    rows = PathSampler(*space).sample(400_000, 3, 9, threads=2)
    drawn, counts = np.unique(rows, axis=0, return_counts=True)
    assert [tuple(r) for r in drawn.tolist()] == below
    assert chi_square_is_plausible(counts, len(rows) / len(below))


@pytest.mark.parametrize("costs", [[1, 2, 3, 5], [1.1, 2.3, 3.7, 5.9], [10**8, 3, 7, 10**9 + 1]])
def test_rows_depend_on_seed_index_and_limit_only(costs):
    sampler = PathSampler([costs] * 50)
    limit = 50 * sum(costs) / 5
    rows = sampler.sample(1000, 7, limit)
    assert rows.dtype == np.int16 and rows.shape == (1000, 50)
    assert np.array(costs)[rows].sum(axis=1).max() <= limit * (1 + 1e-12)
    for threads in (2, 3, 7):
        assert np.array_equal(rows, sampler.sample(1000, 7, limit, threads=threads))
    assert np.array_equal(rows[:10], sampler.sample(10, 7, limit))
    assert np.array_equal(rows[10:], sampler.sample(990, 7, limit, offset=10))
    assert not np.array_equal(rows, sampler.sample(1000, 8, limit))
    assert sampler.sample(0, 7).shape == (0, 50)
    # Tables of other limits, made and dropped in between, change nothing.
    for other in range(8):
        sampler.sample(1, 7, limit * (1 + other / 100))
    assert np.array_equal(rows, sampler.sample(1000, 7, limit))


def test_several_threads_may_ask_at_a_time():
    sampler = PathSampler([list(range(8))] * 20)
    expected = [sampler.sample(300, 1, limit) for limit in range(30, 60)]
    fresh = PathSampler([list(range(8))] * 20)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda limit: (fresh.count(limit), fresh.sample(300, 1, limit)),
                         range(30, 60))  # fmt: skip
        for rows, (count, again) in zip(expected, found, strict=True):
            assert np.array_equal(rows, again) and count > 0


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
    assert sampler.count(20 * 10**9 + 2 * 10**9 - 1) == 1
    assert sampler.exact and sampler.table_bytes < 10_000


def test_layers_of_a_depth_share_states():
    """Four layers under a depth cost no more states than four layers in a row."""
    plain = PathSampler([[0, 1]] * 5)
    depth = PathSampler([[0, 0, 0, 0]] + [[0, 1]] * 4, [-1, 0, 0, 0, 0],
                        [[]] + [list(range(k, 4)) for k in range(4)])  # fmt: skip
    assert depth.states <= plain.states
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
        (lambda: PathSampler([[1, -2]]), "choice 0 has the cost -2; costs must be 0"),
        (lambda: PathSampler([[1]], [-1, 0]), "needs one parent for each of the 1 choices, got 2"),
        (lambda: PathSampler([[1]], [-1], [[], []]), "one list of active parent options"),
        (lambda: PathSampler([[1], [2]], [1, -1]), "choice 0 has the parent 1"),
        (lambda: PathSampler([[1], [2]], [-1, 0], [[], [1]]), "option 1 of choice 0, which has"),
        (lambda: PathSampler([[1]], [-1], [[0]]), "choice 0 has no parent; leave its active"),
        (lambda: PathSampler([[1, np.nan]]), "choice 0 has the cost nan"),
        (lambda: PathSampler([[1.7e308]] * 4), "add up to infinity"),
        (lambda: PathSampler([[1, 2]], second=[[1]]), "another number of options in the second"),
        (lambda: PathSampler([[1, 2]], second=[]), "for each choice in both costs"),
        (lambda: PathSampler([[1, 2]], max_bytes=9).count(), "more than max_bytes=9 bytes"),
        (lambda: PathSampler([[0] * 40_000]), "more than 32767 options"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, 2), "costs at most 2; the cheapest costs 3"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, (6, 7)), "at least 6; the dearest costs 5"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, (4, 4.5)), "the cheapest costs 3, so widen"),
        (lambda: PathSampler([[3.3, 5]]).sample(1, 0, (3.4, 3.5)), "so widen"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, (1, 2, 3)), "A band has two ends"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, np.nan), "A limit is NaN"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, None, 4), "no second cost to limit"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, logits=[]), "a row for each choice"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, logits=[[1.0]]), "choice 0 are too few"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, logits=[[-np.inf] * 2]), "not all -inf"),
        (lambda: PathSampler([[3, 5]]).sample(-1, 0), "n=-1; use 0 or more"),
        (lambda: PathSampler([[3, 5]]).sample(1, 0, threads=0), "threads=0; use 1 to 1024"),
    ],
)
def test_errors_are_one_sentence(call, sentence):
    with pytest.raises(ValueError) as caught:
        call()
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(".")


def test_limits_of_any_size():
    sampler = PathSampler([[3, 5]])
    for huge in (10**30, 10**400, np.inf):
        assert sampler.count(huge) == 2 and sampler.count(-huge) == 0
        assert sampler.count((-huge, None)) == 2 and sampler.count((huge, None)) == 0
    assert sampler.count(np.int64(4)) == sampler.count(4.5) == 1
    with pytest.raises(TypeError):
        sampler.count(object())


FEW_THREADS = """
import resource
import numpy as np
from nas_domains._sampler import PathSampler

sampler = PathSampler([[1, 2, 3]] * 20)
rows = sampler.sample(5000, 7, 30)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
# Room for the stacks of some threads, not of a thousand.
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28,) * 2)
assert np.array_equal(rows, sampler.sample(5000, 7, 30, threads=1024))
print("equal")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_threads_that_the_system_does_not_give_are_done_without():
    done = subprocess.run(
        [sys.executable, "-c", FEW_THREADS], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "equal", done.stderr
