"""Computing on memory: the same bits as the op, and the op wherever something is unusual."""

import gc
import importlib
import os

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nas_domains.ops import direct
from nas_domains.ops.mixed_edge import mixed_edge_unchecked
from nas_domains.ops.mixed_edge_checks import param_shapes
from nas_domains.ops.mixed_edge_reference import NAMES, counts_of
from nas_domains.ops.running_statistics import update_running

backends = importlib.import_module("nas_domains.ops.backend")
pytestmark = pytest.mark.skipif(
    backends.resolved("mixed_edge_fwd", "cpu") != "native", reason="nothing compiled"
)
LAST = torch.channels_last
EPS, MOMENTUM = 1e-4, 0.2
BRANCHES = {1: ("none", "max_pool", "skip", "sep_conv_3", "dil_conv_5", "conv_1"),
            2: ("avg_pool", "reduce", "sep_conv_5", "conv_3")}  # fmt: skip


def problem(stride=1, dtype=torch.float32, shape=(3, 6, 7, 5), seed=0):
    """x, w, params, running statistics and codes."""
    g = torch.Generator().manual_seed(seed)
    channels, names = shape[1], BRANCHES[stride]
    x = torch.randn(shape, generator=g, dtype=dtype).contiguous(memory_format=LAST)
    shapes = [shape for name in names for shape in param_shapes(name, channels)]
    params = [torch.randn(s, generator=g, dtype=dtype, requires_grad=True) for s in shapes]
    w = torch.rand(len(names), generator=g, dtype=dtype, requires_grad=True)
    codes = tuple(NAMES.index(name) for name in names)
    norms = range(counts_of(codes)[0])
    running = [[torch.rand(channels, generator=g, dtype=dtype) for _ in norms] for _ in range(2)]
    return x.requires_grad_(), w, params, [*running, [torch.tensor(i) for i in norms]], codes


def edge_of(x, params, running, codes, stride=1):
    kinds = x.dtype, x.dtype, torch.int64
    lies = [direct.dense(row, kind) for row, kind in zip(running, kinds, strict=True)]
    weights = direct.dense(params, x.dtype)
    return direct.DirectEdge(x, codes, stride, EPS, weights, lies, MOMENTUM)


def gradient(y):
    g = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    return g.contiguous(memory_format=LAST)


def by_op(x, w, params, running, codes, stride=1):
    """Output, gradients and running statistics of the op."""
    y, mean, var = mixed_edge_unchecked(x, w, params, codes, stride, eps=EPS)
    update_running(*running, mean, var, MOMENTUM, y.numel() // y.shape[1])
    grads = torch.autograd.grad(y, [x, w, *params], gradient(y))
    return [y, *grads, *[t for row in running for t in row]]


def compare(own, others):
    for a, b in zip(own, others, strict=True):
        assert torch.equal(a, b) and a.stride() == b.stride()


@pytest.mark.parametrize("shape", [(3, 6, 7, 5), (2, 17, 9, 8), (5, 4, 3, 1), (2, 2, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stride", [1, 2])
def test_bits_are_those_of_the_op(on_memory, stride, dtype, shape):
    expected = by_op(*problem(stride, dtype, shape), stride)
    x, w, params, running, codes = problem(stride, dtype, shape)
    edge = edge_of(x, params, running, codes, stride)
    assert edge.fits(x, w)
    y = edge(x, w, params)
    grads = torch.autograd.grad(y, [x, w, *params], gradient(y))
    compare([y, *grads, *[t for row in running for t in row]], expected)
    assert on_memory == ["forward", "backward"]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kept", [True, False])
def test_large_maps_lie_in_memory_of_their_own(on_memory, kept, stride):
    shape = 8, 16, 48, 48  # 1.1 MB, or a quarter
    expected = by_op(*problem(stride, shape=shape), stride)
    x, w, params, running, codes = problem(stride, shape=shape)
    edge, native = edge_of(x, params, running, codes, stride), backends.native_module()
    gc.collect()
    before = native.map_bytes()[0]
    native.keep_maps(kept)
    try:
        y = edge(x, w, params)
        grads = torch.autograd.grad(y, [x, w, *params], gradient(y))
    finally:
        native.keep_maps(True)
    compare([y, *grads, *[t for row in running for t in row]], expected)
    assert on_memory == ["forward", "backward"]
    large = kept and "NAS_DOMAINS_TESTED_COPY" not in os.environ
    bytes_ = sum(t.nbytes for t in (y, grads[0]))
    held = native.map_bytes()[0] - before
    assert held >= bytes_ if large else held == 0
    del y, grads
    gc.collect()
    assert native.map_bytes()[0] == before


def test_what_is_kept_is_what_the_op_returns():
    x, w, params, running, codes = problem()
    _, kept = edge_of(x, params, running, codes).forward(x, w)
    none = x.new_empty((0, 6))
    arguments = x, w, params, codes, 1, none, none, True, EPS, True
    _, *expected = torch.ops.nas_domains.mixed_edge_fwd(*arguments)
    mean, var, z = edge_of(x, params, running, codes).parts(kept)
    compare([mean, var], expected[:2])
    # Lanes without a channel hold nothing that is read.
    assert z.shape == expected[2].shape


def test_only_what_is_wanted_is_computed(on_memory):
    x, w, params, running, codes = problem()
    leaves, edge = [x, w, *params], edge_of(x, params, running, codes)
    y = edge(x, w, params)
    whole = torch.autograd.grad(y, leaves, gradient(y))
    for which in ([0], [1], [2, 5], [0, 1]):
        y = edge(x, w, params)
        found = torch.autograd.grad(y, [leaves[i] for i in which], gradient(y))
        compare(found, [whole[i] for i in which])
    edge(x, w, params)
    assert on_memory.count("backward") == 5


class Watching(TorchDispatchMode):
    def __init__(self):
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.__name__)
        return func(*args, **(kwargs or {}))


def test_what_watches_ops_sees_them(on_memory):
    x, w, params, running, codes = problem()
    edge = edge_of(x, params, running, codes)
    y = edge(x, w, params)
    g = gradient(y)
    expected = torch.autograd.grad(y, [x, w, *params], g, retain_graph=True)
    on_memory.clear()
    assert direct.unwatched()
    with Watching() as mode:
        assert not direct.unwatched()
        found = torch.autograd.grad(y, [x, w, *params], g, retain_graph=True)
    assert not on_memory and "mixed_edge_bwd.default" in mode.names
    with torch.profiler.profile() as profile:
        assert not direct.unwatched()
        torch.autograd.grad(y, [x, w], g, retain_graph=True)
    assert not on_memory
    assert any("mixed_edge_bwd" in event.key for event in profile.key_averages())
    with backends.backend("reference"):
        assert not edge.fits(x, w)
        other = torch.autograd.grad(y, [x, w, *params], g)
    assert not on_memory
    compare(found, expected)
    for a, b in zip(other, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    told = []
    torch.func.vmap(lambda v: (told.append(direct.unwatched()), v)[1])(torch.rand(2, 6))
    assert told == [False]


def test_what_lies_otherwise_does_not_fit():
    x, w, params, running, codes = problem()
    edge = edge_of(x, params, running, codes)
    assert edge.fits(x, w)
    flat = x.detach()
    for other in (
        flat.contiguous(),
        torch._neg_view(-flat),
        flat.double(),
        flat.to("meta"),
        flat.as_subclass(type("Own", (torch.Tensor,), {})),
    ):
        assert not edge.fits(other, w)
    for other in (
        torch.stack([w.detach()] * 2, 1)[:, 0],
        torch._neg_view(-w.detach()),
        w.detach().double(),
        w.detach()[1:],
        w.detach()[None],
    ):
        assert not edge.fits(x, other)
    gone = params[0].detach().clone()
    gone.untyped_storage().resize_(0)
    emptied = flat.clone(memory_format=torch.preserve_format)
    emptied.untyped_storage().resize_(0)
    assert not edge.fits(emptied, w)
    for wrong in (
        [*params[1:], gone],
        [*params[1:], params[0].detach().mT.contiguous().mT],
        [*params[1:], params[0].double()],
        [*params[1:], torch._neg_view(-params[0])],
        [*params[1:], params[0].to("meta")],
    ):
        assert direct.dense(wrong, torch.float32) is None


def test_the_op_takes_over_in_the_backward(on_memory):
    x, w, params, running, codes = problem()
    edge, leaves = edge_of(x, params, running, codes), [x, w, *params]
    y = edge(x, w, params)
    g = gradient(y)
    expected = torch.autograd.grad(y, leaves, g)

    def close(found, wanted):
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)

    # Another layout, and a gradient that is the same everywhere and takes no memory.
    y = edge(x, w, params)
    on_memory.clear()
    close(torch.autograd.grad(y, leaves, g.contiguous(), retain_graph=True), expected)
    uniform = torch.autograd.grad(y.sum(), leaves, retain_graph=True)
    assert not on_memory
    close(torch.autograd.grad(y, leaves, torch.ones_like(y)), uniform)
    assert on_memory == ["backward"]
    # What was kept comes back from elsewhere, which hooks do that are there in time.
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        assert not edge.fits(x, w)
        y = edge(x, w, params)
    on_memory.clear()
    compare(torch.autograd.grad(y, leaves, g), expected)
    assert not on_memory
    # A weight lies elsewhere since.
    y = edge(x, w, params)
    params[0].data = params[0].data.clone()
    on_memory.clear()
    compare(torch.autograd.grad(y, leaves, g), expected)
    assert not on_memory


def test_a_weight_changed_in_between_is_an_error():
    x, w, params, running, codes = problem()
    y = edge_of(x, params, running, codes)(x, w, params)
    with torch.no_grad():
        params[0].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_an_output_that_is_not_used_has_no_gradient(on_memory):
    x, w, params, running, codes = problem()
    y = edge_of(x, params, running, codes)(x, w, params)

    class Drop(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.clone()

        @staticmethod
        def backward(ctx, g):
            return None

    total = Drop.apply(y).sum() + x.sum()
    total.backward()
    assert torch.equal(x.grad, torch.ones_like(x)) and w.grad is None
    assert on_memory == ["forward"]


def test_second_derivatives_are_right():
    def second(call):
        x, w, params, running, codes = problem(dtype=torch.float64)
        y = call(x, w, params, running, codes)
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), w)[0]

    own = second(lambda x, w, p, running, codes: edge_of(x, p, running, codes)(x, w, p))
    with backends.backend("reference"):
        expected = second(
            lambda x, w, p, _, codes: mixed_edge_unchecked(x, w, p, codes, 1, eps=EPS)[0]
        )
    torch.testing.assert_close(own, expected)


def test_running_statistics_may_stay():
    x, w, params, running, codes = problem()
    lies = direct.dense(params, torch.float32)
    edge = direct.DirectEdge(x, codes, 1, EPS, lies, (), 0.0)
    before = [t.clone() for row in running for t in row]
    y = edge(x, w, params)
    compare([y], by_op(*problem())[:1])
    compare([t for row in running for t in row], before)


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
def test_an_edge_outlives_the_instruction_set_it_was_made_for(isa):
    native = backends.native_module()
    if isa not in native.supported_isas():
        pytest.skip(f"this processor has no {isa}")
    x, w, params, running, codes = problem()
    edge = edge_of(x, params, running, codes)
    before = native.isa()
    native.set_isa(isa)
    try:
        expected = by_op(*problem())
        y = edge(x, w, params)
        grads = torch.autograd.grad(y, [x, w, *params], gradient(y))
    finally:
        native.set_isa(before)
    compare([y, *grads, *[t for row in running for t in row]], expected)


def test_what_does_not_fit_is_refused():
    x, w, params, running, codes = problem()
    weights = direct.dense(params, torch.float32)
    for wrong, words in (
        ((x, codes[:-1], 1, EPS, weights, (), 0.1), "wrong size"),
        ((x[:, :, :1, :1][:1], codes, 1, EPS, weights, (), 0.1), "single value"),
        ((x, codes, 3, EPS, weights, (), 0.1), "stride"),
        ((x, codes, 1, EPS, weights, [direct.Dense((8,), (6,))] * 3, 0.1), "a value a channel"),
    ):
        with pytest.raises(RuntimeError, match=words):
            direct.DirectEdge(*wrong)


def test_the_compiled_functions_refuse_what_they_would_read_wrongly():
    native = backends.native_module()
    names = "edge", "edge_forward", "edge_backward"
    for name in (*[f"direct_{name}" for name in names], "unchanged", "addresses"):
        with pytest.raises(TypeError):
            getattr(native, name)(1, 2)
    empty = ()
    good = ((1, 2, 3, 3, 4), (0,), 1, 1e-5, 0.1, empty, empty, empty, empty, empty)
    edge = native.direct_edge(*good)
    for place, wrong, kind in (
        (0, (1, 2, 3, 3), RuntimeError),
        (0, (1, 2, 3, 3, 2), RuntimeError),
        (0, (1, 0, 3, 3, 4), RuntimeError),
        (0, "abc", SystemError),
        (1, (99,), RuntimeError),
        (1, (0, 0), RuntimeError),
        (2, 3, RuntimeError),
        (3, "x", TypeError),
        (4, "x", TypeError),
        (5, (3,), RuntimeError),
        (6, (3,), RuntimeError),
        (7, (3,), RuntimeError),
        (8, (0.5,), TypeError),
    ):
        with pytest.raises(kind):
            native.direct_edge(*good[:place], wrong, *good[place + 1 :])
    for wrong in (3, None, (), {}):
        with pytest.raises((ValueError, SystemError)):
            native.direct_edge_forward(wrong, 0, 0, 0, 0)
        with pytest.raises((ValueError, SystemError)):
            native.direct_edge_backward(wrong, 0, 0, 0, 0, 0, 0, ())
    with pytest.raises(TypeError):
        native.direct_edge_forward(edge, 0.5, 0, 0, 0)
    with pytest.raises(RuntimeError, match="a gradient for each weight"):
        native.direct_edge_backward(edge, 0, 0, 0, 0, 0, 0, (0,))
    del edge
    gc.collect()


def test_unchanged_compares_objects():
    unchanged = backends.native_module().unchanged
    value, own, t = [1], {}, torch.zeros(3)
    own["a"] = value
    assert unchanged((own,), ("a",), (value,), (t,), (t.data_ptr(),), (t,))
    assert not unchanged((own,), ("a",), ([1],), (), (), ())
    assert not unchanged((own,), ("b",), (value,), (), (), ())
    assert not unchanged((), (), (), (t,), (t.data_ptr() + 4,), ())
    assert not unchanged((), (), (), (), (), (t, t[::2]))
    assert unchanged((), (), (), (), (), ())
    for wrong in (
        ((own,), ("a",), (), (), (), ()),
        ((own,), (), (value,), (), (), ()),
        ([own], ("a",), (value,), (), (), ()),
        ((), (), (), (t,), (), ()),
    ):
        with pytest.raises((ValueError, SystemError)):
            unchanged(*wrong)
    for wrong in (
        ((own,), ([],), (value,), (), (), ()),
        ((1,), ("a",), (value,), (), (), ()),
        ((), (), (), (1,), (2,), ()),
        ((), (), (), (t,), ("x",), ()),
        ((), (), (), (), (), (1,)),
    ):
        with pytest.raises((TypeError, SystemError, AttributeError)):
            unchanged(*wrong)
    addresses = backends.native_module().addresses
    assert addresses([t, t]) == (t.data_ptr(),) * 2 and addresses(()) == ()
    for wrong in (3, [1]):
        with pytest.raises((TypeError, AttributeError)):
            addresses(wrong)
