"""The op norm_weighted_sum: the shipped contract, and what is its own."""

import pytest
import torch
from torch import nn

from nas_domains import ops
from nas_domains.testing.op_checks import check_same_bits, missing, use_variant
from nas_domains.testing.ops import SAMPLES, OpCase, OpContract

SHAPES = [(9, 5), (4, 5, 7), (3, 5, 6, 7), (2, 5, 3, 4, 5)]
BACKENDS = ["reference", "native"]


class TestNormWeightedSum(OpContract):
    sample = SAMPLES["norm_weighted_sum"]


class TestNormWeightedSumGiven(OpContract):
    sample = SAMPLES["norm_weighted_sum with given statistics"]


class TestNormWeightedSumChannels(OpContract):
    sample = SAMPLES["norm_weighted_sum with a weight a channel"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param not in ops.available():
        pytest.skip(f"the {request.param} backend is not here")
    with ops.backend(request.param):
        yield request.param


def norm_of(shape, **options):
    kind = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][len(shape) - 2]
    return kind(shape[1], affine=False, **options)


def saved(y):
    """The shapes that a result keeps for its gradient."""
    return [tuple(t.shape) for t in y.grad_fn.saved_tensors]


def plain(w, *xs):
    """The formula with torch's own batch norm."""
    return sum(w[k] * nn.functional.batch_norm(x, None, None, training=True)
               for k, x in enumerate(xs))  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layouts", [("contiguous",), ("channels_last",)])
@pytest.mark.parametrize("channels", [4, 24, 70])
def test_every_instruction_set_gives_the_same_bits(dtype, layouts, channels):
    variants = [v for v in ("native-portable", "native-avx2", "native-avx512") if not missing(v)]
    if len(variants) < 2:
        pytest.skip("this machine has one native variant at most")
    case = OpCase((5, channels, 33, 67), layouts=layouts)
    results = []
    for variant in variants:
        with use_variant(variant):
            sample = SAMPLES["norm_weighted_sum"]
            results.append(check_same_bits(sample, case, dtype, threads=(1, 2)))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], result, strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=len)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_statistics_are_those_of_batch_norm(backend, shape, layout):
    xs = [torch.randn(shape, dtype=torch.float64) * (k + 1) + k for k in range(3)]
    if layout == "channels_last":
        xs = [x.movedim(1, -1).contiguous().movedim(-1, 1) for x in xs]
    y, mean, var = ops.norm_weighted_sum(xs, torch.ones(3), [True, False, True])
    space = [d for d in range(len(shape)) if d != 1]
    for row, x in zip(range(2), (xs[0], xs[2]), strict=True):
        torch.testing.assert_close(mean[row], x.mean(space))
        torch.testing.assert_close(var[row], x.var(space, correction=0))
    assert y.stride() == torch.empty_like(xs[0]).stride()
    assert not mean.requires_grad and not var.requires_grad


@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_equals_modules_in_training_and_evaluation(backend, shape):
    norms = [norm_of(shape).double() for _ in range(2)]
    w = torch.tensor([0.3, -1.2], dtype=torch.float64)
    for step in range(3):
        xs = [torch.randn(shape, dtype=torch.float64) + step for _ in norms]
        expected = sum(a * norm(x) for a, norm, x in zip(w, norms, xs, strict=True))
        torch.testing.assert_close(ops.norm_weighted_sum(xs, w)[0], expected)
    mean = torch.stack([norm.eval().running_mean for norm in norms])
    var = torch.stack([norm.running_var for norm in norms])
    expected = sum(a * norm(x) for a, norm, x in zip(w, norms, xs, strict=True))
    y, same_mean, same_var = ops.norm_weighted_sum(xs, w, mean=mean, var=var)
    torch.testing.assert_close(y, expected)
    assert torch.equal(same_mean, mean) and torch.equal(same_var, var)
    assert same_mean.data_ptr() != mean.data_ptr()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("outlier", [0.0, 1e6])
def test_a_large_mean_costs_no_more_than_in_two_passes(backend, layout, outlier):
    """One sum of squares would leave no digit: 1e3 ** 2 in float32 is known to 0.06."""
    form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    x = (1e3 + torch.randn(16, 6, 20, 20)).contiguous(memory_format=form)
    x[0, :, 0, 0] += outlier
    wide = x.double()
    exact = wide.var((0, 2, 3), correction=0)
    two_pass = (x - x.mean((0, 2, 3), keepdim=True)).square().mean((0, 2, 3))
    _, mean, var = ops.norm_weighted_sum([x], torch.ones(1))
    eps = torch.finfo(torch.float32).eps
    # What two passes lose, and the rounding of the result.
    allowed = 2 * (two_pass - exact).abs().max() + 4 * eps * exact.max()
    assert (var[0] - exact).abs().max() <= allowed
    error = (mean[0] - wide.mean((0, 2, 3))).abs().max()
    assert error <= 2 * (x.mean((0, 2, 3)) - wide.mean((0, 2, 3))).abs().max() + 1e3 * eps


@pytest.mark.parametrize("shape", [(8, 3), (4, 3, 40, 40)])
def test_a_constant_channel_gives_zeros(shape):
    value = torch.tensor(1000.1)
    y, mean, var = ops.norm_weighted_sum([value.expand(shape)], torch.ones(1))
    assert not y.any() and not var.any() and (mean == value).all()


@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_second_derivatives_are_those_of_the_plain_formula(backend, shape):
    """Statistics that the op returned would be constants here, and silently wrong."""
    torch.manual_seed(0)
    xs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    w = torch.rand(2, dtype=torch.float64, requires_grad=True)
    g = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    inputs = [w, g, *xs]
    results = []
    for f in (lambda w, *xs: ops.norm_weighted_sum(xs, w)[0], plain):
        first = torch.autograd.grad(f(w, *xs), [w, *xs], g, create_graph=True)
        results.append(torch.autograd.grad(sum(d.sin().sum() for d in first), inputs))
    for mine, expected in zip(*results, strict=True):
        # Two orders of the same sums in float64, over at most as many terms as there are values.
        torch.testing.assert_close(mine, expected, rtol=1e-11, atol=1e-12)


def test_second_order_through_an_unrolled_step(backend):
    """The exact second-order DARTS gradient differentiates the gradient of the weights."""

    def unrolled(f):
        alpha = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
        weight = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(4, 3, 2).requires_grad_()
        inner = f(alpha.softmax(0), weight.exp(), weight.sin()).sin().sum()
        (step,) = torch.autograd.grad(inner, weight, create_graph=True)
        outer = f(alpha.softmax(0), (weight - 0.1 * step).exp(), (weight - 0.1 * step).sin())
        return torch.autograd.grad(outer.cos().sum(), alpha)[0]

    mine = unrolled(lambda w, *xs: ops.norm_weighted_sum(xs, w)[0])
    torch.testing.assert_close(mine, unrolled(plain), rtol=1e-11, atol=1e-12)


def test_only_what_a_gradient_reads_is_kept():
    xs = [torch.randn(4, 3, requires_grad=k == 1) for k in range(3)]
    w, s = torch.rand(3), torch.ones(3, 3)
    statistics = [(3,), (3, 3), (3, 3)]
    assert saved(ops.norm_weighted_sum(xs, w)[0]) == [*statistics, (4, 3)]
    assert saved(ops.norm_weighted_sum(xs, w, mean=s, var=s)[0]) == statistics
    statistics[1:] = [(2, 3), (2, 3)]
    assert saved(ops.norm_weighted_sum(xs, w, [True, False, True])[0]) == statistics
    w.requires_grad_()
    assert saved(ops.norm_weighted_sum(xs, w, [True, False, True])[0]) == statistics + [(4, 3)] * 3


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("wanted", [("w",), ("x", 1), ("x", 2), ("x", 0, 2)])
def test_only_the_gradients_asked_for_are_computed(backend, given, wanted, monkeypatch):
    normed = [True, False, True]
    all_of_them = [torch.randn(6, 3, dtype=torch.float64) for _ in range(3)]
    w = torch.rand(3, dtype=torch.float64)
    statistics = [torch.full((2, 3), 0.5, dtype=torch.float64)] * 2 if given else [None, None]
    leaves = [w] if wanted[0] == "w" else [all_of_them[k] for k in wanted[1:]]
    for leaf in leaves:
        leaf.requires_grad_()
    y, *_ = ops.norm_weighted_sum(all_of_them, w, normed, *statistics)
    asked = []
    bwd = torch.ops.nas_domains.norm_weighted_sum_bwd
    monkeypatch.setattr(
        torch.ops.nas_domains, "norm_weighted_sum_bwd",
        lambda *args: asked.append(args[-2:]) or bwd(*args),
    )  # fmt: skip
    got = torch.autograd.grad(y.square().sum(), leaves)
    ks = [] if wanted[0] == "w" else list(wanted[1:])
    assert asked == [(ks, wanted[0] == "w")]
    for tensor in (w, *all_of_them):
        tensor.requires_grad_()
    y, *_ = ops.norm_weighted_sum(all_of_them, w, normed, *statistics)
    for mine, expected in zip(got, torch.autograd.grad(y.square().sum(), leaves), strict=True):
        torch.testing.assert_close(mine, expected)


def test_half_types_are_computed_in_float32_with_or_without_autocast(backend):
    x = (100 + torch.randn(64, 3, 4)).bfloat16()
    w = torch.tensor([0.7])
    y, mean, var = ops.norm_weighted_sum([x], w)
    wide, wide_mean, wide_var = ops.norm_weighted_sum([x.float()], w)
    assert y.dtype == torch.bfloat16 and mean.dtype == var.dtype == torch.float32
    assert torch.equal(y, wide.bfloat16())
    assert torch.equal(mean, wide_mean) and torch.equal(var, wide_var)
    with torch.autocast("cpu", torch.bfloat16):
        again, mixed = (ops.norm_weighted_sum(xs, torch.ones(2))[0] for xs in ([x, x], [x, wide]))
    assert again.dtype == torch.bfloat16 and mixed.dtype == torch.float32


def test_nothing_is_mutated_and_the_caller_keeps_its_statistics(backend):
    x, s = torch.randn(4, 3), torch.ones(1, 3)
    w = torch.ones(1)
    before = [t.clone() for t in (x, s, w)]
    ops.norm_weighted_sum([x], w, mean=s, var=s)
    ops.norm_weighted_sum([x], w)
    assert all(torch.equal(a, b) for a, b in zip((x, s, w), before, strict=True))
