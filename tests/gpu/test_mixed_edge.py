"""The mixed edge on a GPU: every kernel it launches, executed as PTX on the CPU."""

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton", reason="the Triton kernels need triton")
from nas_domains.kernels import pointwise

from nas_domains.bench import edge_model
from nas_domains.testing import cuda as player
from nas_domains.testing import edge_checks
from nas_domains.testing.edge_checks import DARTS, NASBENCH201, EdgeCase, every_branch

from . import cuda
from .ptx import mutant, needs_ptxrun, played, ptxrun, triton_ops

pytestmark = [cuda.needs_nvcc, needs_ptxrun]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """The bank's kernels in both dtypes of the edge."""
    dtypes = [torch.float32, torch.float64]
    paths = [
        cuda.compile_ptx(cuda.instances(kind, dtypes), tmp_path_factory.mktemp(kind))
        for kind in ("fwd", "bwd")
    ]
    return cuda.bank(*paths, cuda.geometry(tmp_path_factory.mktemp("geometry")))


def check(bank, case, dtype, order="forward", seed=0):
    bank.options = {"strict": True, "order": order}
    with triton_ops(order), player.played_bank(bank):
        edge_checks.check_values(case, dtype, seed)


CASES = [
    EdgeCase((2, 72, 4, 4)),
    EdgeCase((1, 1, 1, 1), ("dil_conv_3",), training=False),
    EdgeCase((2, 4, 7, 9)),
    EdgeCase((3, 5, 6, 5), every_branch(2, 5), 2),
    EdgeCase((2, 16, 8, 8), DARTS, training=False),
    EdgeCase((2, 3, 4, 4), NASBENCH201),
    EdgeCase((2, 20, 5, 5), every_branch(1), ties=True),
    EdgeCase((2, 4, 5, 5), ("avg_pool_plain", "max_pool"), offset=100.0),
    EdgeCase((2, 4, 5, 5), ("none",)),
    EdgeCase((2, 4, 5, 5), ("skip",)),
    EdgeCase((2, 4, 5, 5), ("skip", "conv_1", "sep_conv_3"), training=False),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_match_float64(bank, case, dtype):
    check(bank, case, dtype)


def test_the_order_of_blocks_changes_nothing(bank):
    check(bank, EdgeCase((2, 4, 7, 9)), torch.float32, "reverse")
    check(bank, EdgeCase((2, 4, 7, 9)), torch.float32, "random")


def test_another_backend_refuses_the_backward(bank):
    inputs, given_tensors = edge_checks.tensors(EdgeCase((2, 4, 5, 5)), torch.float32)
    leaves = [t.requires_grad_() for t in inputs]
    with triton_ops(), player.played_bank(bank):
        y = edge_checks.by_op(EdgeCase((2, 4, 5, 5)), leaves, given_tensors)
    with pytest.raises(RuntimeError, match="run both passes on one backend"):
        torch.autograd.grad(y.sum(), leaves)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    batch=st.integers(2, 4),
    sides=st.tuples(st.integers(2, 18), st.integers(2, 18)),
    channels=st.sampled_from([4, 16]),
    stride=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_any_size(bank, batch, sides, channels, stride, seed):
    branches = DARTS if stride == 1 else every_branch(2, channels)
    check(bank, EdgeCase((batch, channels, *sides), branches, stride), torch.float32, seed=seed)


@pytest.mark.parametrize("wanted", [("x", "w"), ("w",), ("x", "params"), ("params",)])
@pytest.mark.parametrize("branches", [DARTS, NASBENCH201])
def test_only_the_gradients_asked_for(bank, branches, wanted):
    case = EdgeCase((2, 4, 6, 5), branches)
    inputs, given_tensors = edge_checks.tensors(case, torch.float64)
    names = ["x", "w", *["params"] * (len(inputs) - 2)]
    full = edge_checks.values_and_gradients(edge_checks.by_op, case, inputs, given_tensors)[1:]
    leaves = [t.requires_grad_(n in wanted) for t, n in zip(inputs, names, strict=True)]
    with triton_ops(), player.played_bank(bank):
        y = edge_checks.by_op(case, leaves, given_tensors)
        asked = [t for t in leaves if t.requires_grad]
        found = torch.autograd.grad(y, asked, given_tensors["g"])
    expected = [g for g, n in zip(full, names, strict=True) if n in wanted]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_the_whole_edge_moves_a_third_of_what_eager_does(monkeypatch):
    monkeypatch.setattr(edge_model, "SHAPES", ((64, 16, 32),))
    rows = {(r["backend"], r["pass"]): r for r in edge_model.measure(1, "model")["rows"]}
    ours, eager = (rows[name, "both"]["maps"] for name in ("ours", "eager"))
    print(f"{ours:.1f} maps of {eager:.1f}")
    assert ours <= eager / 3


def product(module, dtype, channels=16, rows=200):
    """Everything that the pointwise kernels make."""
    torch.manual_seed(0)
    d, g = torch.randn(2, rows, channels).to(dtype), torch.randn(rows, channels).to(dtype)
    weights = (torch.randn(2, channels, channels) / channels**0.5).to(dtype)
    z, dd = torch.full((3, rows, channels), torch.nan).to(dtype), torch.full_like(d, torch.nan)
    coefficients = torch.randn(2, 3, channels)
    mean, var = module.forward(d, weights, z, (0, 2), True)
    dw = module.backward(g, z, d, weights, coefficients, (0, 2), dd, True)
    own = z[[0, 2]].double()
    c0, c1, c2 = (c[:, None].double() for c in coefficients.unbind(1))
    dz = c0 * g.double() + c1 * own + c2
    exact = [
        d.double() @ weights.double().mT,
        own.mean(1),
        own.var(1, correction=0),
        dz @ weights.double(),
        dz.mT @ d.double(),
    ]
    return list(zip((own, mean, var, dd, dw), exact, strict=True))


@pytest.mark.parametrize("channels", [3, 16, 24, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pointwise_products_match_float64(channels, dtype):
    with played() as play:
        found = product(pointwise, dtype, channels)
    for a, b in found:
        # Sums of up to 200 products, of values rounded once.
        assert (a.double() - b).norm() <= 4 * torch.finfo(dtype).eps * b.norm()
    if dtype == torch.float32 and channels % 16 == 0:
        assert all(launch.asked >= 0.9 * launch.moved for launch in play.launches)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("tl.store(to + offsets, out.to(z.dtype.element_ty), mask=mask)",
         "tl.store(to + offsets, out.to(z.dtype.element_ty))"),
        ("tl.store(dd + start + offsets, back.to(dd.dtype.element_ty), mask=mask)",
         "tl.store(dd + start + offsets, back.to(dd.dtype.element_ty))"),
    ],
)  # fmt: skip
def test_a_missing_mask_is_caught(tmp_path, text, instead):
    broken = mutant(pointwise, text, instead, tmp_path)
    for module, error in ((pointwise, None), (broken, ptxrun().PtxError)):
        with played(), nullcontext() if error is None else pytest.raises(error):
            product(module, torch.float32)
