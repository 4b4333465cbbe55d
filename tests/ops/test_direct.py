"""Computing on memory: the same bits as the ops, and the ops wherever something is unusual."""

import importlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nas_domains.nn.candidates import DARTS, NASBENCH201
from nas_domains.nn.mixed import MixedOp
from nas_domains.ops import direct
from nas_domains.ops.mixed_edge import mixed_edge_unchecked
from nas_domains.ops.mixed_edge_checks import param_shapes
from nas_domains.ops.mixed_edge_reference import NAMES
from nas_domains.ops.running_statistics import update_running

backends = importlib.import_module("nas_domains.ops.backend")
pytestmark = pytest.mark.skipif(
    backends.resolved("mixed_edge_fwd", "cpu") != "native", reason="nothing compiled"
)
LAST = torch.channels_last
# The package has functions of these names.
MODULE = importlib.import_module("nas_domains.ops.mixed_edge")
BRANCHES = {1: ("none", "max_pool", "skip", "sep_conv_3", "dil_conv_5", "conv_1"),
            2: ("avg_pool", "reduce", "sep_conv_5", "conv_3")}  # fmt: skip


def problem(stride=1, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 6, 7, 5, generator=g, dtype=dtype).contiguous(memory_format=LAST)
    names = BRANCHES[stride]
    shapes = [shape for name in names for shape in param_shapes(name, 6)]
    params = [torch.randn(s, generator=g, dtype=dtype, requires_grad=True) for s in shapes]
    w = torch.rand(len(names), generator=g, dtype=dtype, requires_grad=True)
    return x.requires_grad_(), w, params, tuple(NAMES.index(name) for name in names)


def step(x, w, params, codes, stride, wanted=None, **given):
    """Output, statistics and gradients of a call."""
    y, mean, var = mixed_edge_unchecked(x, w, params, codes, stride, **given)
    leaves = [x, w, *params] if wanted is None else wanted
    g = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    g = g.contiguous(memory_format=LAST)
    return [y, mean, var, *torch.autograd.grad(y, leaves, g)]


@pytest.fixture
def calls(monkeypatch):
    """Which functions have computed, and not handed on to an op."""
    seen = []
    for name in ("edge_forward", "edge_backward"):
        own = getattr(MODULE, name)

        def told(*arguments, own=own, name=name):
            found = own(*arguments)
            if found is not None:
                seen.append(name)
            return found

        monkeypatch.setattr(MODULE, name, told)
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_bits_are_those_of_the_ops(calls, monkeypatch, stride, dtype, training):
    x, w, params, codes = problem(stride, dtype)
    norms = direct.counts_of(codes)[0]
    given = {} if training else {
        "mean": torch.linspace(-1, 1, 6 * norms, dtype=dtype).view(norms, 6),
        "var": torch.linspace(0.5, 2, 6 * norms, dtype=dtype).view(norms, 6),
    }  # fmt: skip
    own = step(x, w, params, codes, stride, **given)
    assert calls == ["edge_forward", "edge_backward"]
    monkeypatch.setattr(direct, "_HAS", False)
    ops = step(x, w, params, codes, stride, **given)
    assert len(calls) == 2
    for a, b in zip(own, ops, strict=True):
        assert torch.equal(a, b) and a.stride() == b.stride()


def test_only_what_is_wanted_is_computed(calls):
    x, w, params, codes = problem()
    whole = step(x, w, params, codes, 1)
    for which in ([0], [1], [2, 5], [0, 1]):
        leaves = [x, w, *params]
        found = step(x, w, params, codes, 1, [leaves[i] for i in which])
        for i, grad in zip(which, found[3:], strict=True):
            assert torch.equal(grad, whole[3 + i])
    assert calls.count("edge_backward") == 5


class Watching(TorchDispatchMode):
    def __init__(self):
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.__name__)
        return func(*args, **(kwargs or {}))


def test_what_watches_ops_sees_them(calls):
    x, w, params, codes = problem()
    expected = step(x, w, params, codes, 1)
    calls.clear()
    with Watching() as mode:
        found = step(x, w, params, codes, 1)
    assert not calls and "mixed_edge_fwd.default" in mode.names
    with torch.profiler.profile() as profile:
        step(x, w, params, codes, 1)
    assert not calls
    assert any("mixed_edge_bwd" in event.key for event in profile.key_averages())
    with backends.backend("reference"):
        step(x, w, params, codes, 1)
    assert not calls
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_the_ops_run_for_what_lies_otherwise(calls):
    x, w, params, codes = problem()
    expected = step(x, w, params, codes, 1)
    calls.clear()
    turned = [p.detach().mT.contiguous().mT.requires_grad_() for p in params]
    negative = torch._neg_view(-x.detach()).requires_grad_()
    for case in (
        (x.detach().contiguous().requires_grad_(), w, params),
        (negative, w, params),
        (x, torch.stack([w.detach()] * 2, 1)[:, 0].requires_grad_(), params),
        (x, w, turned),
    ):
        for a, b in zip(step(*case, codes, 1), expected, strict=True):
            assert (a - b).abs().max() < 1e-4
    assert "edge_forward" not in calls
    # A gradient that is the same everywhere takes no memory.
    y, _, _ = mixed_edge_unchecked(x, w, params, codes, 1)
    calls.clear()
    torch.autograd.grad(y.sum(), [x, w])
    assert not calls


def test_second_derivatives_are_right(calls):
    x, w, params, codes = problem(dtype=torch.float64)
    y, _, _ = mixed_edge_unchecked(x, w, params, codes, 1)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    second = torch.autograd.grad(dx.square().sum(), w)[0]
    with backends.backend("reference"):
        y, _, _ = mixed_edge_unchecked(x, w, params, codes, 1)
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        expected = torch.autograd.grad(dx.square().sum(), w)[0]
    torch.testing.assert_close(second, expected)


def test_running_statistics_move_alike(monkeypatch):
    def moved(here):
        g = torch.Generator().manual_seed(0)
        means, variances = ([torch.rand(5, generator=g) for _ in range(3)] for _ in range(2))
        counts = [torch.tensor(i) for i in range(3)]
        mean, var = torch.rand(3, 5, generator=g), torch.rand(3, 5, generator=g)
        kinds = torch.float32, torch.float32, torch.int64
        rows = zip((means, variances, counts), kinds, strict=True)
        lies = [direct.dense(row, kind) for row, kind in rows] if here else None
        update_running(means, variances, counts, mean, var, 0.1, 7, lies)
        return [*means, *variances, *counts]

    own = moved(True)
    assert all(torch.equal(a, b) for a, b in zip(own, moved(False), strict=True))
    none = [direct.Dense((), ())] * 3
    assert direct.move_running(none, torch.zeros(0, 5), torch.zeros(0, 5), 0.1, 2)
    assert not direct.move_running(none, torch.zeros(1, 5), torch.zeros(1, 5), 0.1, 2)
    monkeypatch.setattr(direct, "_HAS", False)
    assert not direct.move_running(none, torch.zeros(0, 5), torch.zeros(0, 5), 0.1, 2)


def test_the_compiled_functions_refuse_what_they_would_read_wrongly():
    native = backends.native_module()
    names = "mixed_edge_forward", "mixed_edge_backward", "update_running", "unchanged", "addresses"
    for name in names:
        with pytest.raises(TypeError):
            getattr(native, name)(1, 2)
    sizes, codes, empty = (1, 2, 3, 3, 4), (0,), ()
    good = (sizes, codes, 1, 1, 1e-5, 0, 0, empty, empty, 0, 0, 0, 0)
    for place, wrong, kind in (
        (0, (1, 2, 3, 3), RuntimeError),
        (0, (1, 2, 3, 3, 2), RuntimeError),
        (0, (1, 0, 3, 3, 4), RuntimeError),
        (0, "abc", SystemError),
        (1, (99,), RuntimeError),
        (1, (0, 0), RuntimeError),
        (2, 3, RuntimeError),
        (4, "x", TypeError),
        (5, 0.5, TypeError),
        (8, (3,), RuntimeError),
    ):
        with pytest.raises(kind):
            native.mixed_edge_forward(*good[:place], wrong, *good[place + 1 :])
    with pytest.raises(RuntimeError, match="count"):
        native.update_running(4, 2, 3, 0.1, 0, 0, (0,), (), ())


def test_unchanged_compares_objects():
    unchanged = backends.native_module().unchanged
    value, own, t = [1], {}, torch.zeros(3)
    own["a"] = value
    assert unchanged((own,), ("a",), (value,), ({},), (t,), (t.data_ptr(),))
    assert not unchanged((own,), ("a",), ([1],), (), (), ())
    assert not unchanged((own,), ("b",), (value,), (), (), ())
    assert not unchanged((), (), (), ({}, {1: 2}), (), ())
    assert not unchanged((), (), (), (), (t,), (t.data_ptr() + 4,))
    assert unchanged((), (), (), (), (), ())
    for wrong in (
        ((own,), ("a",), (), (), (), ()),
        ((own,), (), (value,), (), (), ()),
        ([own], ("a",), (value,), (), (), ()),
        ((), (), (), (), (t,), ()),
    ):
        with pytest.raises((ValueError, SystemError)):
            unchanged(*wrong)
    for wrong in (
        ((own,), ([],), (value,), (), (), ()),
        ((), (), (), (1,), (), ()),
        ((), (), (), (), (1,), (2,)),
        ((), (), (), (), (t,), ("x",)),
    ):
        with pytest.raises((TypeError, SystemError, AttributeError)):
            unchanged(*wrong)
    addresses = backends.native_module().addresses
    assert addresses([t, t]) == (t.data_ptr(),) * 2 and addresses(()) == ()
    for wrong in (3, [1]):
        with pytest.raises((TypeError, AttributeError)):
            addresses(wrong)


@pytest.mark.parametrize("candidates", [DARTS, NASBENCH201])
def test_an_edge_of_a_supernet_runs_so(calls, candidates):
    mixed = MixedOp(candidates, 4, 1, 2)
    x = torch.randn(2, 4, 6, 6).contiguous(memory_format=LAST).requires_grad_()
    y = mixed(x, torch.rand(len(candidates), requires_grad=True))
    y.backward(torch.randn(y.shape).contiguous(memory_format=LAST))
    assert calls == ["edge_forward", "edge_backward"]
