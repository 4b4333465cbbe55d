"""The op mixed_edge on every backend and instruction set."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx

from nas_domains import ops
from nas_domains.ops.mixed_edge_reference import NAMES
from nas_domains.testing import edge_checks, op_checks
from nas_domains.testing.edge_checks import DARTS, NASBENCH201, EdgeCase, check_values

DTYPES = (torch.float32, torch.float64)


@pytest.fixture(autouse=True, params=op_checks.VARIANTS)
def variant(request):
    reason = op_checks.missing(request.param)
    if reason is not None:
        pytest.skip(reason)
    if "triton" in request.param:
        pytest.skip("its parts on a GPU run as PTX in tests/gpu")
    with op_checks.use_variant(request.param):
        yield request.param


@st.composite
def edge_cases(draw):
    stride = draw(st.integers(1, 2))
    channels = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 9, 16, 17, 20, 32, 33]))
    side = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 14, 15, 16, 17, 23, 28, 33])
    height, width = draw(side), draw(side)
    batch = draw(st.integers(1, 4 if channels > 8 else 9))
    known = edge_checks.every_branch(stride, channels)
    branches = draw(st.lists(st.sampled_from(known), min_size=1, unique=True))
    training = draw(st.booleans()) and batch * -(-height // stride) * -(-width // stride) > 1
    shape = (batch, channels, height, width)
    return EdgeCase(shape, tuple(branches), stride, training, draw(st.booleans()))


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=edge_cases(), seed=st.integers(0, 1000), data=st.data())
def test_any_shape_stride_and_subset(case, seed, data):
    check_values(case, data.draw(st.sampled_from(DTYPES)), seed)


@pytest.mark.parametrize("case", edge_checks.CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients_match_float64(case, dtype):
    check_values(case, dtype)


@pytest.mark.parametrize("stride", [1, 2])
def test_each_branch_alone(stride):
    for name in edge_checks.every_branch(stride):
        check_values(EdgeCase((3, 6, 7, 6), (name,), stride), torch.float64)


def test_statistics_survive_a_large_mean():
    case = EdgeCase((4, 16, 12, 12), ("max_pool", "avg_pool", "conv_1"), offset=1000.0)
    inputs, _ = edge_checks.tensors(case, torch.float32)
    x, w, *params = inputs
    _, _, var = ops.mixed_edge(x, w, params, case.branches)
    _, _, exact = ops.mixed_edge(
        x.double(), w.double(), [p.double() for p in params], case.branches
    )
    torch.testing.assert_close(var.double(), exact, rtol=1e-3, atol=0)


def test_wide_rows_are_summed_in_short_runs():
    # A gradient that is the same everywhere goes back as zero through batch norms, if the sums of
    # it are right: one sum of a row in float32 drifts by 2e-4.
    shape, branches = (1, 4, 1, 40_000), ("max_pool", "sep_conv_3")
    (x, w, *params), _ = edge_checks.tensors(EdgeCase(shape, branches), torch.float32)
    y, _, _ = ops.mixed_edge(x.requires_grad_(), w, params, branches)
    (dx,) = torch.autograd.grad(y, x, torch.full_like(y, 0.1))
    assert dx.abs().max() < 3e-5 * w.abs().max()


def test_statistics_are_those_of_the_batch():
    case = EdgeCase((4, 5, 6, 7), ("max_pool", "conv_1"))
    (x, w, weight), _ = edge_checks.tensors(case, torch.float64)
    _, mean, var = ops.mixed_edge(x, w, [weight], case.branches)
    pooled = torch.nn.functional.max_pool2d(x, 3, 1, 1)
    convolved = torch.nn.functional.conv2d(x.relu(), weight)
    for row, z in enumerate((pooled, convolved)):
        torch.testing.assert_close(mean[row], z.mean((0, 2, 3)))
        torch.testing.assert_close(var[row], z.var((0, 2, 3), correction=0))
    assert not mean.requires_grad and not var.requires_grad


@pytest.mark.parametrize("stride", [1, 2])
def test_first_and_second_derivatives(stride):
    branches = ("skip" if stride == 1 else "reduce", "max_pool", "sep_conv_3", "conv_1")
    case = EdgeCase((2, 2, 4, 3), branches, stride)
    inputs, given_ = edge_checks.tensors(case, torch.float64)
    leaves = [t.requires_grad_() for t in inputs]

    def call(*tensors):
        return edge_checks.by_op(case, tensors, given_)

    assert torch.autograd.gradcheck(call, leaves, atol=1e-5)

    def norm_of_gradient(of):
        y = of(case, leaves, given_)
        (dx,) = torch.autograd.grad(y, leaves[0], given_["g"], create_graph=True)
        return torch.autograd.grad((dx**2).sum(), leaves[1:])

    ours = norm_of_gradient(edge_checks.by_op)
    for a, b in zip(ours, norm_of_gradient(edge_checks.by_formula), strict=True):
        torch.testing.assert_close(a, b)


def test_inputs_that_depend_on_each_other_have_their_own_gradients():
    """With a graph of the gradient as without: weights made of x, and one tensor given twice."""
    case = EdgeCase((2, 2, 4, 3), ("skip", "sep_conv_3", "conv_1"))
    (x, _, *params), _ = edge_checks.tensors(case, torch.float64)
    kernel = params[1].requires_grad_()
    tied = [kernel if p.shape == kernel.shape else p for p in params]
    assert sum(p is kernel for p in tied) == 3
    x.requires_grad_()

    def gradients(**how):
        w = x.mean((0, 2, 3)).repeat(2)[:3].tanh()
        y, _, _ = ops.mixed_edge(x, w, tied, case.branches)
        return torch.autograd.grad(y.square().sum(), [x, kernel], **how)

    for a, b in zip(gradients(), gradients(create_graph=True), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("asked", ["x", "w", "params"])
def test_only_what_is_asked_for(asked):
    case = EdgeCase((3, 4, 6, 6))
    inputs, given_ = edge_checks.tensors(case, torch.float64)
    everything = [t.clone().requires_grad_() for t in inputs]
    wanted = {"x": [0], "w": [1], "params": list(range(2, len(inputs)))}[asked]
    some = [t.clone().requires_grad_(i in wanted) for i, t in enumerate(inputs)]
    edge_checks.by_op(case, everything, given_).backward(given_["g"])
    edge_checks.by_op(case, some, given_).backward(given_["g"])
    for i, (a, b) in enumerate(zip(everything, some, strict=True)):
        assert (b.grad is not None) == (i in wanted)
        if b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("branches", [DARTS, NASBENCH201])
@pytest.mark.parametrize("training", [True, False])
def test_registration(branches, training):
    case = EdgeCase((2, 3, 5, 4), branches, training=training)
    inputs, given_ = edge_checks.tensors(case, torch.float32)
    x, w, *params = (t.requires_grad_() for t in inputs)
    codes = [NAMES.index(name) for name in branches]
    mean, var = given_["mean"], given_["var"]
    arguments = (x, w, params, codes, 1, mean, var, training, 1e-5, True)
    torch.library.opcheck(torch.ops.nas_domains.mixed_edge_fwd.default, arguments)


def test_compile_in_one_graph():
    torch.compiler.reset()

    @torch.compile(fullgraph=True)
    def step(x, w, *params):
        return ops.mixed_edge(x, w, params, DARTS)[0]

    for shape in ((2, 4, 6, 6), (3, 4, 5, 7)):
        inputs, given_ = edge_checks.tensors(EdgeCase(shape), torch.float64)
        leaves = [t.requires_grad_() for t in inputs]
        compiled = torch.autograd.grad(step(*leaves), leaves, given_["g"])
        plain = torch.autograd.grad(
            ops.mixed_edge(leaves[0], leaves[1], leaves[2:], DARTS)[0], leaves, given_["g"]
        )
        for a, b in zip(compiled, plain, strict=True):
            torch.testing.assert_close(a, b)


def test_bits_do_not_depend_on_threads(variant):
    if variant == "reference":
        pytest.skip("the sums of torch itself depend on the number of threads")
    case = EdgeCase((13, 5, 9, 11))
    inputs, given_ = edge_checks.tensors(case, torch.float32)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(
                edge_checks.values_and_gradients(edge_checks.by_op, case, inputs, given_)
            )
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_nothing_is_kept_without_gradients():
    inputs, _ = edge_checks.tensors(EdgeCase((2, 4, 6, 6)), torch.float32)
    x, w, *params = inputs
    codes = [NAMES.index(name) for name in DARTS]
    empty = x.new_empty(0, 4)
    arguments = (x, w, params, codes, 1, empty, empty, True, 1e-5, False)
    *_, z = torch.ops.nas_domains.mixed_edge_fwd(*arguments)
    assert z.numel() == 0


_x, _one = torch.zeros(2, 4, 5, 5), torch.ones(1)
_stat = torch.ones(1, 4)


def test_traces_with_symbolic_sizes():
    case = EdgeCase((4, 8, 6, 6))
    inputs, _ = edge_checks.tensors(case, torch.float32, 0)

    def call(x, w, *params):
        return ops.mixed_edge(x, w, params, case.branches)[0]

    graph = make_fx(call, tracing_mode="symbolic")(*inputs)
    torch.testing.assert_close(graph(*inputs), call(*inputs))


def test_statistics_carry_no_gradient():
    (x, w, *params), _ = edge_checks.tensors(EdgeCase((4, 8, 6, 6)), torch.float32, 0)
    x.requires_grad_()
    y, mean, var = ops.mixed_edge(x, w, params, DARTS)
    assert y.requires_grad and not mean.requires_grad and not var.requires_grad


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.mixed_edge(_x.int(), _one, [], ["skip"]), TypeError, "x is torch.int32"),
        (lambda: ops.mixed_edge(_x[0], _one, [], ["skip"]), ValueError, "x has shape"),
        (lambda: ops.mixed_edge(_x[:0], _one, [], ["skip"]), ValueError, "no side of 0"),
        (lambda: ops.mixed_edge(_x, _one, [], ["skip"], 3), ValueError, "stride is 3"),
        (lambda: ops.mixed_edge(_x, _one, [], ["skip"], 2), ValueError, "'skip' does not exist"),
        (lambda: ops.mixed_edge(_x, _one, [], ["reduce"]), ValueError, "'reduce' does not exist"),
        (lambda: ops.mixed_edge(_x, _one, [], ["swim"]), ValueError, "no branch 'swim'"),
        (lambda: ops.mixed_edge(_x, _one, [], ["skip"] * 2), ValueError, "a branch twice"),
        (lambda: ops.mixed_edge(_x, _one.long(), [], ["skip"]), TypeError, "w is torch.int64"),
        (lambda: ops.mixed_edge(_x, _one[:0], [], ["skip"]), ValueError, "w has shape"),
        (lambda: ops.mixed_edge(_x, _one.to("meta"), [], ["skip"]), ValueError, "w is on meta"),
        (lambda: ops.mixed_edge(_x, _one, [], ["conv_1"]), ValueError, "params have shapes"),
        (lambda: ops.mixed_edge(_x, _one, [], ["max_pool"], mean=_one), ValueError, "or neither"),
        (
            lambda: ops.mixed_edge(_x, _one, [], ["max_pool"], mean=_one, var=_one),
            ValueError,
            "mean has shape",
        ),
        (
            lambda: ops.mixed_edge(_x, _one, [], ["max_pool"], mean=_stat.long(), var=_stat),
            TypeError,
            "mean is torch.int64",
        ),
        (
            lambda: ops.mixed_edge(_x, _one, [], ["max_pool"], mean=_stat, var=_stat.to("meta")),
            ValueError,
            "var is on meta",
        ),
        (
            lambda: ops.mixed_edge(
                _x, _one, [], ["max_pool"], mean=_stat, var=_stat.clone().requires_grad_()
            ),
            ValueError,
            "var requires a gradient",
        ),
        (
            lambda: ops.mixed_edge(_x[:1, :, :1, :1], _one, [], ["max_pool"]),
            ValueError,
            "one value",
        ),
    ],
)
def test_errors_are_one_sentence(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
