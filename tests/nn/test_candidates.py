"""Candidates in 1, 2 and 3 dimensions: shapes, gradients, and what each one means."""

import math
from itertools import product

import pytest
import torch
from torch import nn

from nas_domains.nn.candidates import (
    DARTS,
    NASBENCH201,
    AvgPool3d,
    FactorizedReduce,
    avg_pool,
    check_dims,
    max_pool_3x3,
)
from tests.core.refusal import refused

CANDIDATES = {f"darts.{name}": c for name, c in DARTS.items()} | {
    f"nasbench201.{name}": c for name, c in NASBENCH201.items()
}
SIDES = (1, 2, 5, 6)

each = pytest.mark.parametrize(
    ("name", "dims", "stride"),
    list(product(CANDIDATES, (1, 2, 3), (1, 2))),
    ids=str,
)


@each
def test_sides_shrink_by_the_stride_rounded_up(name, dims, stride):
    module = CANDIDATES[name](4, stride, True, dims)
    for sides in product(SIDES, repeat=min(dims, 2)):
        shape = (*sides, 3)[:dims]
        x = torch.randn(2, 4, *shape)
        for training in (True, False):
            out = module.train(training)(x)
            assert out.shape == (2, 4, *(math.ceil(s / stride) for s in shape))
            assert out.isfinite().all()


@each
def test_gradients(name, dims, stride):
    torch.manual_seed(0)
    module = CANDIDATES[name](2, stride, True, dims).double()
    x = torch.randn(2, 2, *(3, 2, 3)[:dims], dtype=torch.float64, requires_grad=True)
    for training in (True, False):
        assert torch.autograd.gradcheck(module.train(training), x, fast_mode=True)


@each
def test_affine_says_whether_norms_learn(name, dims, stride):
    for affine in (True, False):
        module = CANDIDATES[name](4, stride, affine, dims)
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert all((norm.weight is not None) == affine for norm in norms)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_average_leaves_padding_out(dims, stride):
    for side in SIDES:
        ones = torch.ones(1, 2, *(side,) * dims)
        assert torch.equal(avg_pool(stride, dims)(ones).unique(), torch.ones(1))
    for candidates in (DARTS, NASBENCH201):
        module = candidates["avg_pool_3x3"](2, stride, True, dims)
        pool = module[0] if isinstance(module, nn.Sequential) else module
        assert torch.equal(pool(ones).unique(), torch.ones(1))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (2, 2, 0)])
@pytest.mark.parametrize("sides", [(1, 1, 1), (1, 6, 7), (2, 5, 1), (6, 2, 2), (1, 2, 3)])
def test_average_of_volumes_flatter_than_the_window(kernel, stride, padding, sides):
    """Against a loop over windows; torch's own refuses these sides."""
    pool = AvgPool3d(
        kernel, stride, padding, count_include_pad=False, ceil_mode=kernel == 2
    ).double()
    x = torch.randn(2, 3, *sides, dtype=torch.float64)
    out = pool(x)
    assert out.shape[2:] == tuple(math.ceil(s / stride) for s in sides)
    for at in product(*map(range, out.shape[2:])):
        window = [slice(max(0, p * stride - padding), p * stride - padding + kernel) for p in at]
        torch.testing.assert_close(out[(..., *at)], x[(..., *window)].mean((2, 3, 4)))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_maximum_leaves_padding_out(dims):
    pool = max_pool_3x3(2, 1, True, dims)[0]
    below = -torch.ones(1, 2, *(3,) * dims)
    assert torch.equal(pool(below), below)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_none_is_zero_without_gradient(dims):
    x = torch.randn(2, 3, *(5,) * dims, requires_grad=True)
    for stride in (1, 2):
        out = DARTS["none"](3, stride, True, dims)(x)
        assert not out.any() and not out.requires_grad


def test_skip_is_the_identity_or_a_reduction():
    x = torch.randn(2, 4, 5, 5)
    assert DARTS["skip_connect"](4, 1, True, 2)(x) is x
    assert isinstance(DARTS["skip_connect"](4, 2, True, 2), FactorizedReduce)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("side", [1, 2, 5, 6, 7])
def test_factorized_reduction_reads_even_and_odd_positions(dims, side):
    """Against a sum by position; beyond the end of an odd side there are zeros."""
    torch.manual_seed(0)
    module = FactorizedReduce(3, 5, True, dims).double()
    module.norm = nn.Identity()
    x = torch.randn(2, 3, *(side,) * dims, dtype=torch.float64)
    out = module(x)
    half = math.ceil(side / 2)
    assert out.shape == (2, 5, *(half,) * dims)
    for at in product(range(half), repeat=dims):
        for conv, shift, rows in ((module.first, 0, slice(0, 3)), (module.second, 1, slice(3, 5))):
            source = [2 * p + shift for p in at]
            inside = all(p < side for p in source)
            values = x[(..., *source)].relu() if inside else torch.zeros(2, 3, dtype=x.dtype)
            expected = values @ conv.weight.flatten(1).T
            torch.testing.assert_close(out[(slice(None), rows, *at)], expected)


@pytest.mark.parametrize("dims", [0, 4, -1, "2", None])
def test_other_dimensions_are_refused(dims):
    with refused(f"dims={dims}"):
        check_dims(dims)


def test_names_stand_in_the_order_of_the_papers():
    assert list(DARTS) == [
        "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect",
        "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
    ]  # fmt: skip
    assert list(NASBENCH201) == [
        "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        # Depthwise k^2 C, pointwise C^2, twice for separable ones; no bias.
        ("sep_conv_3x3", 2 * (9 * 8 + 64)),
        ("sep_conv_5x5", 2 * (25 * 8 + 64)),
        ("dil_conv_3x3", 9 * 8 + 64),
        ("dil_conv_5x5", 25 * 8 + 64),
    ],
)
def test_weights_of_separable_convolutions(name, weights):
    assert sum(p.numel() for p in DARTS[name](8, 1, False, 2).parameters()) == weights


@pytest.mark.parametrize(("name", "reach"), [("dil_conv_3x3", 2), ("dil_conv_5x5", 4)])
def test_dilation_is_two(name, reach):
    module = DARTS[name](1, 1, False, 1).eval()
    nn.init.ones_(module[1].weight)
    x = torch.zeros(1, 1, 15)
    x[..., 7] = 1
    touched = module(x).flatten().nonzero().flatten() - 7
    assert touched.tolist() == list(range(-reach, reach + 1, 2))
