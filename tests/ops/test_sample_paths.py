"""The op sample_paths: its contract on every backend, compiled, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas_domains import ops
from nas_domains.testing import path_checks
from nas_domains.testing.op_checks import VARIANTS, missing, use_variant
from nas_domains.testing.path_checks import CASES, MODES, PathCase


@pytest.fixture(params=VARIANTS)
def variant(request):
    reason = missing(request.param)
    if reason is not None:
        pytest.skip(reason)
    with use_variant(request.param):
        yield request.param


@pytest.mark.usefixtures("variant")
class TestContract:
    def test_philox_gives_the_published_words(self):
        path_checks.check_philox()

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_paths_are_those_of_plain_pytorch(self, case):
        path_checks.check_same_as_reference(case)

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_pieces_and_seeds(self, case, variant):
        if variant == "triton" and case.options > 1000:
            # Interpreted, a fair draw takes a second for each few hundred paths of a block.
            case = replace(case, options=300)
        path_checks.check_pieces(case)

    @pytest.mark.parametrize("case", [PathCase(5, 6, 0.3), PathCase(1, 1), PathCase(20, 8)])
    def test_fair_is_fair(self, case):
        path_checks.check_fair(case)

    def test_probabilities(self):
        path_checks.check_laws()

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        case=st.builds(
            PathCase,
            st.integers(1, 70),
            st.integers(1, 40),
            st.sampled_from([0, 0.2, 0.9]),
            st.integers(0, 99),
        ),
        n=st.integers(0, 300),
        seed=st.integers(0, 2**64 - 1),
        offset=st.integers(0, 2**40),
    )
    def test_any_shape_seed_and_offset(self, case, n, seed, offset):
        path_checks.check_same_as_reference(case, n, seed, offset)


def test_digits_that_tie_are_decided_by_the_further_bits():
    """An option of probability 2^-18, which no digit of 16 bits draws alone."""
    p = torch.tensor([[1 - 2.0**-18, 2.0**-18]])
    n = 2**23
    rare = int(ops.sample_paths(p.log(), n, "categorical", seed=2).sum())
    expected = n * 2.0**-18
    assert abs(rare - expected) < 6 * expected**0.5 + 1


def test_gumbel_orders_what_has_hardly_a_chance():
    """Of two options e^50 below the first, the likelier still comes second more often."""
    logits = torch.tensor([[0.0, -50.0, -51.0]])
    order = ops.sample_paths(logits, 20_000, "gumbel", seed=0, k=3)[:, 0]
    assert bool((order[:, 0] == 0).all())
    share = (order[:, 1] == 1).double().mean().item()
    assert abs(share - 1 / (1 + 2.718281828**-1)) < 0.02


def test_half_types_and_logits_with_gradients_are_taken():
    logits = torch.randn(4, 3, dtype=torch.bfloat16, requires_grad=True)
    paths = ops.sample_paths(logits, 10, "categorical", seed=1)
    assert not paths.requires_grad
    assert torch.equal(paths, ops.sample_paths(logits.double(), 10, "categorical", seed=1))


@pytest.mark.parametrize("mode", MODES)
def test_registration(mode):
    logits = PathCase(5, 7, 0.2).logits()
    k = 2 if mode == "gumbel" else 1
    namespace = torch.ops.nas_domains
    torch.library.opcheck(namespace.sample_paths_table.default, (logits, mode, 1))
    table = namespace.sample_paths_table(logits, mode, 1)
    if mode == "gumbel":
        torch.library.opcheck(namespace.sample_paths_race.default, (table, 9, k, 1, 2))
    elif mode == "fair":
        torch.library.opcheck(namespace.sample_paths_fair.default, (table, 9, 1, 2))
    else:
        torch.library.opcheck(namespace.sample_paths_choose.default, (table, 9, 1, 2))
    torch.library.opcheck(namespace.philox.default, (logits, 1, 2, 3, 4))


@pytest.mark.parametrize("mode", MODES)
def test_compile_in_one_graph(mode):
    torch.compiler.reset()
    logits = PathCase(5, 7).logits()
    compiled = torch.compile(lambda x: ops.sample_paths(x, 100, mode, seed=4), fullgraph=True)
    assert torch.equal(compiled(logits), ops.sample_paths(logits, 100, mode, seed=4))


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"mode": "best"}, ValueError, "mode is 'best'; use one of uniform"),
        ({"logits": torch.zeros(2, 3).long()}, TypeError, "logits are torch.int64"),
        ({"logits": torch.zeros(3)}, ValueError, r"shape \(3,\)"),
        ({"logits": torch.zeros(0, 3)}, ValueError, r"shape \(0, 3\)"),
        ({"logits": torch.zeros(1, 40_000)}, ValueError, "at most 32767 options"),
        ({"n": -1}, ValueError, "n=-1 and offset=0"),
        ({"offset": -1}, ValueError, "n=4 and offset=-1"),
        ({"offset": 2**62}, ValueError, "below 2"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": 2**64}, ValueError, "seed is 18446744073709551616"),
        ({"k": 2}, ValueError, "k=2 with mode uniform"),
        ({"k": 4, "mode": "gumbel"}, ValueError, "k=4 with mode gumbel"),
        ({"logits": torch.tensor([[0.0, torch.nan]])}, ValueError, "hold NaN"),
        ({"logits": torch.tensor([[0.0, torch.inf]])}, ValueError, r"\+inf"),
        ({"logits": torch.full((2, 2), -torch.inf)}, ValueError, "edge 0 has 0 options"),
        (
            {"logits": torch.tensor([[0.0, -torch.inf]]), "mode": "gumbel", "k": 2},
            ValueError,
            "edge 0 has 1 options",
        ),
    ],
)
def test_errors_are_one_sentence(arguments, kind, words):
    given_ = {"logits": torch.zeros(2, 3), "n": 4, "mode": "uniform", "seed": 0} | arguments
    with pytest.raises(kind, match=words) as caught:
        ops.sample_paths(given_.pop("logits"), given_.pop("n"), **given_)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_tables_that_would_be_read_wrongly_are_refused():
    if missing("native-portable"):
        pytest.skip("the native backend needs the compiled module")
    choose = torch.ops.nas_domains.sample_paths_choose
    for table in ([[0, 5]], [[-1, 2**48]], [[2**48, 5, 2**48]]):
        with pytest.raises(RuntimeError, match="thresholds must rise"):
            choose(torch.tensor(table), 3, 0, 0)
    for table, n, offset in ((torch.zeros(3).long(), 1, 0), (torch.zeros(2, 2), 1, 0)):
        with pytest.raises(RuntimeError, match="would not pass"):
            choose(table, n, 0, offset)
    with pytest.raises(RuntimeError, match="no option that is allowed"):
        torch.ops.nas_domains.sample_paths_fair(torch.zeros(2, 2, dtype=torch.bool), 3, 0, 0)
    with pytest.raises(RuntimeError, match="scales must be above 0"):
        torch.ops.nas_domains.sample_paths_race(torch.zeros(2, 2).double(), 3, 1, 0, 0)
