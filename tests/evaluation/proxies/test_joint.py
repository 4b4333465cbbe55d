"""Several proxies ranked together, and how much of it is size."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_domains.evaluation.proxies.joint import TRUSTED, joint_ranks, size_bias
from tests.conftest import SHARED, needs_shared


def test_ranks_are_averaged_and_what_is_missing_is_last() -> None:
    scores = [{"a": 1.0, "b": 1e9}, {"a": 2.0, "b": None}, {"a": 3.0, "b": -4.0}]
    assert joint_ranks(scores) == [0.5, 0.25, 0.75]
    assert joint_ranks([]) == [] and joint_ranks(scores[:1]) == [1.0]
    assert joint_ranks([{"a": 1.0}, {"a": 1.0}]) == [0.5, 0.5]


@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=20),
    st.permutations(["a", "b"]),
)
def test_only_the_order_of_each_proxy_counts(
    values: list[tuple[int, int]], names: list[str]
) -> None:
    scores = [dict(zip("ab", map(float, pair), strict=True)) for pair in values]
    ranks = joint_ranks(scores)
    assert all(0 <= rank <= 1 for rank in ranks)
    assert np.isclose(np.mean(ranks), 0.5)
    bent = [{n: s[n] if n == "b" else math.exp(s[n] / 10) for n in names} for s in scores]
    np.testing.assert_allclose(joint_ranks(bent), ranks)


def test_size_bias_is_one_of_sizes_themselves() -> None:
    assert size_bias([0.1, 0.5, 0.9], [10, 20, 30]) == pytest.approx(1.0)
    assert size_bias([0.9, 0.5, 0.1], [10, 20, 30]) == pytest.approx(-1.0)
    for ranks, sizes in (([0.1, 0.2], [1, 2]), ([0.5] * 3, [1, 2, 3]), ([0.1, 0.2, 0.3], [4] * 3)):
        assert math.isnan(size_bias(ranks, sizes))


@needs_shared
def test_the_trusted_three_rank_better_than_each_and_than_size() -> None:
    folder = SHARED / "data" / "nasbench201"
    with np.load(folder / "zero_cost_cifar10.npz") as file:
        columns, scores, rows = file["columns"].tolist(), file["scores"], file["row"]
    with np.load(folder / "table.npz") as file:
        truth = file["test_acc_200ep"][rows, 0]
    finite = np.where(np.isfinite(scores), scores, -np.inf)
    published = {"naswot": "nwot"}
    own = {n: finite[:, columns.index(published.get(n, n))] for n in (*TRUSTED, "params")}
    found = joint_ranks([{n: float(own[n][i]) for n in TRUSTED} for i in range(len(rows))])
    joint = size_bias(found, truth)
    assert joint > 0.88
    for name in own:
        assert size_bias(joint_ranks([{name: float(v)} for v in own[name]]), truth) < joint - 0.05
